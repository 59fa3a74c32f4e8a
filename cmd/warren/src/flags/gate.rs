//! The flags that say who is asked and who is told of a release.

use super::words;
use crate::failure::{Failure, Outcome};
use clap::Args;
use std::path::{Path, PathBuf};
use warren_core::spec::{HOOK_KEY_BYTES_MAX, HookPoint, HookUrl, RoleName};
use warren_wire::v1;

/// Who is asked and who is told.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Approvals and hooks")]
pub struct GateFlags {
    /// Roles of those who may agree to a release before anything changes
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    approve_roles: Vec<RoleName>,
    /// How many of them must; 0 to ask nobody [default: 1 with --approve-roles, else 0]
    #[arg(long, value_name = "N")]
    approve_min: Option<u32>,
    /// Address to call: pre_rollout, per_step, pre_promote and post_promote are gates that wait for an answer of 2xx,
    /// rollback and event only tell; may be repeated
    #[arg(long, value_name = "ON=URL", value_parser = hook)]
    hook: Vec<v1::Hook>,
    /// File with the key that signs what these hooks are sent; without --hook, what every hook is sent
    #[arg(long, value_name = "FILE")]
    hook_key_file: Option<PathBuf>,
    /// How long one call of these hooks may take [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = words::span_ms, requires = "hook")]
    hook_timeout: Option<u64>,
    /// What these hooks are sent [default: json]
    #[arg(long, value_name = "FORMAT", value_parser = ["json", "slack"], requires = "hook")]
    hook_format: Option<String>,
}

/// Reads `ON=URL`; `-` may stand for `_`.
///
/// # Errors
/// What to write instead.
fn hook(text: &str) -> Result<v1::Hook, String> {
    let Some((on, url)) = text.split_once('=') else {
        return Err(format!("{text:?} does not say when: write ON=URL, as in event=https://…"));
    };
    let on: HookPoint = on.replace('-', "_").parse()?;
    let url = HookUrl::parse(url)?;
    Ok(v1::Hook { on: on.to_string(), url: url.to_string(), ..Default::default() })
}

impl GateFlags {
    /// Lays what is given over `new`. A hook replaces the one of the same moment and address.
    ///
    /// # Errors
    /// The key's file cannot be read, or there is no hook that it could be for.
    pub fn lay_over(&self, new: &mut v1::UpdateConfig) -> Outcome {
        self.lay_approval(&mut new.approve)?;
        let mut hooks = new.hooks.take().unwrap_or_default().hooks;
        let same = |hook: &v1::Hook, other: &v1::Hook| hook.on == other.on && hook.url == other.url;
        for named in &self.hook {
            let at = hooks.iter().position(|there| same(there, named));
            let there = at.map(|at| hooks.remove(at)).unwrap_or_default();
            hooks.push(v1::Hook {
                timeout_ms: self.hook_timeout.or(there.timeout_ms),
                format: self.hook_format.clone().unwrap_or(there.format),
                key: there.key,
                ..named.clone()
            });
        }
        if let Some(path) = &self.hook_key_file {
            let key = read_key(path)?;
            let meant = |hook: &v1::Hook| {
                self.hook.is_empty() || self.hook.iter().any(|named| same(hook, named))
            };
            if hooks.is_empty() {
                return Err(Failure::usage("--hook-key-file: there is no hook to sign for")
                    .hint("add one with --hook ON=URL"));
            }
            hooks.iter_mut().filter(|hook| meant(hook)).for_each(|hook| hook.key.clone_from(&key));
        }
        new.hooks = (!hooks.is_empty()).then_some(v1::Hooks { hooks });
        Ok(())
    }

    fn lay_approval(&self, rule: &mut Option<v1::ApprovalRule>) -> Outcome {
        let there = rule.as_ref().is_some_and(|rule| rule.min > 0);
        let refuse = |why: &str, hint: &str| Err(Failure::usage(why).hint(hint));
        match (self.approve_roles.as_slice(), self.approve_min) {
            ([], None) => return Ok(()),
            ([], Some(0)) if !there => {
                let why = "--approve-min 0: nobody is asked anyway";
                return refuse(why, "leave it out, or name who is to agree with --approve-roles");
            }
            ([], Some(0)) => {
                *rule = None;
                return Ok(());
            }
            (_, Some(0)) => {
                let why =
                    "--approve-min 0: that asks nobody, and --approve-roles names who is asked";
                return refuse(why, "give one of them, or a number of 1 or more");
            }
            (_, None | Some(_)) => {}
        }
        let mut new = rule.take().unwrap_or_default();
        if !self.approve_roles.is_empty() {
            new.roles = self.approve_roles.iter().map(ToString::to_string).collect();
            new.min = new.min.max(1);
        }
        if new.roles.is_empty() {
            let why = "--approve-min: nobody is named who may agree";
            return refuse(why, "add --approve-roles, as in --approve-roles release-captain");
        }
        new.min = self.approve_min.unwrap_or(new.min);
        *rule = Some(new);
        Ok(())
    }
}

/// The key in a file, without the newline at its end.
fn read_key(path: &Path) -> Outcome<String> {
    let refuse = |why: String| Failure::usage(format!("--hook-key-file {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    // Two more for the line's end.
    if size > HOOK_KEY_BYTES_MAX as u64 + 2 {
        return Err(refuse(format!("{size} bytes are more than {HOOK_KEY_BYTES_MAX}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let key = text.trim_end_matches(['\r', '\n']);
    if key.is_empty() || key.len() > HOOK_KEY_BYTES_MAX {
        return Err(refuse(format!("write 1 to {HOOK_KEY_BYTES_MAX} bytes into it")));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid(flags: &GateFlags, mut config: v1::UpdateConfig) -> v1::UpdateConfig {
        flags.lay_over(&mut config).unwrap();
        config
    }

    #[test]
    fn roles_ask_for_one_person_and_a_minimum_of_0_for_nobody() {
        let roles = vec![RoleName::parse("approver").unwrap()];
        let flags = GateFlags { approve_roles: roles, ..Default::default() };
        let config = laid(&flags, v1::UpdateConfig::default());
        let rule = config.approve.clone().unwrap();
        assert_eq!((rule.roles, rule.min), (vec!["approver".to_owned()], 1));
        let two = GateFlags { approve_min: Some(2), ..Default::default() };
        let both = laid(&two, config.clone()).approve.unwrap();
        assert_eq!((both.roles.len(), both.min), (1, 2), "the roles stay");
        let nobody = GateFlags { approve_min: Some(0), ..Default::default() };
        assert_eq!(laid(&nobody, config).approve, None);
        let refused = |flags: &GateFlags| {
            flags.lay_over(&mut v1::UpdateConfig::default()).unwrap_err().to_string()
        };
        assert!(refused(&nobody).contains("nobody is asked anyway"));
        assert!(refused(&two).contains("add --approve-roles"));
        let both = GateFlags { approve_min: Some(0), ..flags };
        assert!(refused(&both).contains("give one of them"));
    }

    #[test]
    fn a_hook_replaces_its_like_and_keeps_its_key() {
        let there = v1::Hook { key: "***".into(), ..hook("event=http://a/x").unwrap() };
        let hooks = Some(v1::Hooks { hooks: vec![there] });
        let config = v1::UpdateConfig { hooks, ..Default::default() };
        let named = ["event=http://a/x", "pre-rollout=http://b"].map(|text| hook(text).unwrap());
        let flags = GateFlags { hook: named.into(), hook_timeout: Some(9), ..GateFlags::default() };
        let hooks = laid(&flags, config).hooks.unwrap().hooks;
        let seen: Vec<_> = hooks.iter().map(|h| (h.on.as_str(), h.key.as_str())).collect();
        assert_eq!(seen, [("event", "***"), ("pre_rollout", "")]);
        assert!(hooks.iter().all(|hook| hook.timeout_ms == Some(9)));
    }

    #[test]
    fn a_key_comes_from_a_file_and_is_for_the_hooks_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "secret\n").unwrap();
        let hooks = vec![hook("event=http://a").unwrap()];
        let config = v1::UpdateConfig { hooks: Some(v1::Hooks { hooks }), ..Default::default() };
        let named = vec![hook("rollback=http://b").unwrap()];
        let flags = GateFlags { hook: named, hook_key_file: Some(path), ..Default::default() };
        let hooks = laid(&flags, config).hooks.unwrap().hooks;
        let keys: Vec<_> = hooks.iter().map(|hook| hook.key.as_str()).collect();
        assert_eq!(keys, ["", "secret"]);
        let alone = GateFlags { hook: Vec::new(), ..flags };
        let refused = alone.lay_over(&mut v1::UpdateConfig::default()).unwrap_err();
        assert!(refused.to_string().contains("--hook ON=URL"), "{refused}");
    }

    #[test]
    fn a_hook_without_a_moment_or_an_address_is_refused() {
        for (text, says) in
            [("http://a", "ON=URL"), ("event", "ON=URL"), ("event=ftp://a", "https://HOST")]
        {
            assert!(hook(text).unwrap_err().contains(says), "{text}");
        }
    }
}
