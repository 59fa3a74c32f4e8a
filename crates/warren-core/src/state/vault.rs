//! How secrets and configs come, change and go, and who uses them.

use super::{Now, State};
use crate::command::{Applied, Rejection};
use crate::event::{EventKind, FileChange};
use crate::id::{NodeId, TaskId};
use crate::service::Actor;
use crate::spec::{FileKind, FileName, FileRef, FileVersion, LabelKey, Template};
use crate::vault::{
    CONFIG_BYTES_MAX, CONTENT_BYTES_MAX, Content, Fresh, ITEMS_MAX, Item, SECRET_BYTES_MAX, Use,
    VERSIONS_KEPT,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl State {
    /// All secrets or all configs, by name.
    pub fn items(&self, kind: FileKind) -> impl Iterator<Item = &Arc<Item>> {
        self.stored.vault.values().filter(move |item| item.kind == kind)
    }

    /// One secret or config.
    #[must_use]
    pub fn item(&self, kind: FileKind, name: &FileName) -> Option<&Arc<Item>> {
        self.stored.vault.get(&(kind, name.clone()))
    }

    /// The content that `file` means; none where it names no version, or one that is gone.
    #[must_use]
    pub fn content(&self, file: &FileRef) -> Option<&Arc<Content>> {
        self.item(file.kind, &file.name)?.versions.get(&file.version?)
    }

    /// Writes into every reference that names no version the newest one.
    ///
    /// # Errors
    /// There is no such secret or config, or no such version of it.
    pub fn pin_files(&self, template: &mut Template) -> Result<(), Rejection> {
        for file in &mut template.files {
            let (kind, name) = (file.kind, &file.name);
            let item = self.item(kind, name).ok_or_else(|| no_item(kind, name))?;
            let version = *file.version.get_or_insert(item.newest);
            if !item.versions.contains_key(&version) {
                let (kept, name) = (item.newest, name.clone());
                return Err(Rejection::NoFileVersion { kind, name, version, newest: kept });
            }
        }
        Ok(())
    }

    /// Which kept revisions, and which updates that wait, use a secret or a config.
    #[must_use]
    pub fn uses(&self, kind: FileKind, name: &FileName) -> Vec<Use> {
        let mut uses = Vec::new();
        for service in self.services() {
            let kept = service.revisions.values().map(|revision| {
                let current = revision.number == service.current;
                (Some(revision.number), &revision.template, current)
            });
            let waits = service.queued.iter().map(|queued| (None, &queued.spec.template, false));
            for (revision, template, current) in kept.chain(waits) {
                let named = |file: &&FileRef| file.kind == kind && file.name == *name;
                let versions = template.files.iter().filter(named).filter_map(|file| file.version);
                let versions: BTreeSet<FileVersion> = versions.collect();
                uses.extend(versions.into_iter().map(|version| Use {
                    service: service.spec.name.clone(),
                    revision,
                    version,
                    current,
                }));
            }
        }
        uses.sort();
        uses
    }

    /// The content of a secret or a config for a node; none where no live task of the node uses that version of it.
    #[must_use]
    pub fn handed_out(
        &self,
        node: NodeId,
        task: TaskId,
        kind: FileKind,
        name: &FileName,
        version: FileVersion,
    ) -> Option<&Arc<Content>> {
        let task = self.task(task).filter(|task| task.node == node && task.is_live())?;
        let revision = self.service(task.service)?.revisions.get(&task.revision)?;
        let asked = |file: &&FileRef| {
            file.kind == kind && file.name == *name && file.version == Some(version)
        };
        self.content(revision.template.files.iter().find(asked)?)
    }

    pub(super) fn create_item(
        &mut self,
        now: Now,
        fresh: Fresh,
        labels: BTreeMap<LabelKey, String>,
    ) -> Result<Applied, Rejection> {
        let (kind, name) = (fresh.kind, fresh.name.clone());
        if self.item(kind, &name).is_some() {
            return Err(Rejection::FileTaken { kind, name });
        }
        let count = self.items(kind).count();
        if count >= ITEMS_MAX {
            return Err(too_many(format!("{kind}s"), count as u64 + 1, ITEMS_MAX as u64));
        }
        self.check_room(&fresh, 0)?;
        let version = FileVersion(1);
        let by = fresh.by.clone();
        let versions = BTreeMap::from([(version, Arc::new(content(now, fresh)))]);
        let item = Item { kind, name: name.clone(), labels, versions, newest: version };
        self.stored.vault.insert((kind, name.clone()), Arc::new(item));
        self.record(now, EventKind::File { kind, name, by, change: FileChange::Created });
        Ok(Applied::Done)
    }

    /// `version` is the one that the author sealed the content for: the next one, or nothing is changed.
    pub(super) fn update_item(
        &mut self,
        now: Now,
        fresh: Fresh,
        version: FileVersion,
    ) -> Result<Applied, Rejection> {
        let (kind, name) = (fresh.kind, fresh.name.clone());
        let item = self.item(kind, &name).ok_or_else(|| no_item(kind, &name))?;
        let newest = item.newest;
        if version.0 != newest.0.saturating_add(1) {
            return Err(Rejection::Stale(format!("{kind} {name} is at version {newest}")));
        }
        let used: BTreeSet<_> = self.uses(kind, &name).into_iter().map(|one| one.version).collect();
        let old = item.versions.keys().copied();
        let surplus = (item.versions.len() + 1).saturating_sub(VERSIONS_KEPT);
        let unused: Vec<_> = old.take(surplus).filter(|version| !used.contains(version)).collect();
        let freed = unused.iter().filter_map(|old| item.versions.get(old));
        let freed: u64 = freed.map(|old| old.body.0.len() as u64).sum();
        self.check_room(&fresh, freed)?;
        let by = fresh.by.clone();
        if let Some(item) = self.stored.vault.get_mut(&(kind, name.clone())) {
            let item = Arc::make_mut(item);
            item.versions.retain(|version, _| !unused.contains(version));
            item.versions.insert(version, Arc::new(content(now, fresh)));
            item.newest = version;
        }
        let change = FileChange::Updated(version);
        self.record(now, EventKind::File { kind, name, by, change });
        Ok(Applied::Done)
    }

    pub(super) fn remove_item(
        &mut self,
        now: Now,
        kind: FileKind,
        name: FileName,
        by: Actor,
    ) -> Result<Applied, Rejection> {
        if self.item(kind, &name).is_none() {
            return Err(no_item(kind, &name));
        }
        let uses = self.uses(kind, &name);
        if !uses.is_empty() {
            return Err(Rejection::FileInUse { kind, name, by: said(&uses) });
        }
        self.stored.vault.remove(&(kind, name.clone()));
        self.record(now, EventKind::File { kind, name, by, change: FileChange::Removed });
        Ok(Applied::Done)
    }

    fn check_room(&self, fresh: &Fresh, freed: u64) -> Result<(), Rejection> {
        let kind = fresh.kind;
        let most = match kind {
            FileKind::Secret => SECRET_BYTES_MAX,
            FileKind::Config => CONFIG_BYTES_MAX,
        };
        if fresh.bytes as usize > most {
            let what = format!("bytes of a {kind}");
            return Err(too_many(what, u64::from(fresh.bytes), most as u64));
        }
        let versions = self.stored.vault.values().flat_map(|item| item.versions.values());
        let kept: u64 = versions.map(|content| content.body.0.len() as u64).sum();
        let all = (kept + fresh.body.0.len() as u64).saturating_sub(freed);
        if all > CONTENT_BYTES_MAX {
            let what = "bytes of all secrets and configs".to_owned();
            return Err(too_many(what, all, CONTENT_BYTES_MAX));
        }
        Ok(())
    }
}

fn content(now: Now, Fresh { body, bytes, by, .. }: Fresh) -> Content {
    Content { body, bytes, created: now.wall, by }
}

fn no_item(kind: FileKind, name: &FileName) -> Rejection {
    Rejection::NoFile { kind, name: name.clone() }
}

fn too_many(what: String, count: u64, max: u64) -> Rejection {
    Rejection::TooMany { what, count, max }
}

/// Who uses it, as in `web (v1, v3), api (v2)`.
fn said(uses: &[Use]) -> String {
    let mut services: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for one in uses {
        let revision = one.revision.map(|number| number.to_string());
        let revision = revision.unwrap_or_else(|| "an update that waits".to_owned());
        let revisions = services.entry(one.service.as_str()).or_default();
        if !revisions.contains(&revision) {
            revisions.push(revision);
        }
    }
    let each = services.iter().map(|(name, of)| format!("{name} ({})", of.join(", ")));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
