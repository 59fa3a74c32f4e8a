//! The flags of secrets and configs.

use crate::failure::{Failure, Outcome};
use clap::Args;
use warren_core::spec::{FileName, FileRef};
use warren_wire::v1;

/// Secrets and configs that tasks get as files.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Secrets and configs")]
pub struct FileFlags {
    /// Secret that tasks get as a file, at /run/secrets/NAME where no path is named, in its newest version where none
    /// is; may be repeated
    #[arg(long, value_name = "NAME[@VERSION][:PATH][,mode=0444][,uid=N][,gid=N]", value_parser = secret)]
    secret: Vec<v1::FileRef>,
    /// Config that tasks get as a file; may be repeated
    #[arg(long, value_name = "NAME[@VERSION]:PATH[,mode=0444][,uid=N][,gid=N]", value_parser = config)]
    config: Vec<v1::FileRef>,
}

/// What an update takes away from the secrets and configs, and what it renews.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Secrets and configs")]
pub struct FileChangeFlags {
    /// Secret to take away
    #[arg(long, value_name = "NAME")]
    secret_rm: Vec<String>,
    /// Config to take away
    #[arg(long, value_name = "NAME")]
    config_rm: Vec<String>,
    /// Go on with the newest version of each secret
    #[arg(long)]
    secret_rotate: bool,
    /// Go on with the newest version of each config
    #[arg(long)]
    config_rotate: bool,
}

impl FileFlags {
    /// Adds what is named. What has the path already goes.
    pub fn lay_over(&self, template: &mut v1::TaskTemplate) {
        for file in self.secret.iter().chain(&self.config) {
            template.secrets.retain(|other| other.target != file.target);
            template.configs.retain(|other| other.target != file.target);
        }
        template.secrets.extend(self.secret.iter().cloned());
        template.configs.extend(self.config.iter().cloned());
    }
}

impl FileChangeFlags {
    /// Takes away what is named, and forgets the versions of what is to be renewed.
    ///
    /// # Errors
    /// Something named is not there.
    pub fn change(&self, template: &mut v1::TaskTemplate) -> Outcome {
        let lists = [
            ("secret", &self.secret_rm, self.secret_rotate, &mut template.secrets),
            ("config", &self.config_rm, self.config_rotate, &mut template.configs),
        ];
        for (kind, names, rotate, list) in lists {
            for name in names {
                let before = list.len();
                list.retain(|file| file.name != *name);
                if list.len() == before {
                    return Err(missing(format!("--{kind}-rm: the service has no {kind} {name}")));
                }
            }
            if rotate && list.is_empty() {
                return Err(missing(format!("--{kind}-rotate: the service has no {kind}")));
            }
            if rotate {
                list.iter_mut().for_each(|file| file.version = 0);
            }
        }
        Ok(())
    }
}

fn missing(why: String) -> Failure {
    Failure::usage(why).hint("warren service inspect shows what it has")
}

fn secret(text: &str) -> Result<v1::FileRef, String> {
    let mut file = reference(text)?;
    if file.target.is_empty() {
        let name = FileName::parse(&file.name).map_err(|error| error.to_string())?;
        file.target = FileRef::secret_target(&name);
    }
    Ok(file)
}

fn config(text: &str) -> Result<v1::FileRef, String> {
    let file = reference(text)?;
    if file.target.is_empty() {
        return Err(format!("{text:?} names no path: write NAME:PATH, as in app:/etc/app.toml"));
    }
    Ok(file)
}

/// Reads `NAME[@VERSION][:PATH][,mode=0444][,uid=N][,gid=N]`.
fn reference(text: &str) -> Result<v1::FileRef, String> {
    let mut parts = text.split(',');
    let first = parts.next().unwrap_or_default();
    let (name, target) = first.split_once(':').unwrap_or((first, ""));
    let (name, version) = match name.split_once('@') {
        None => (name, 0),
        Some((name, version)) => {
            let number = version.parse().ok().filter(|number| *number > 0);
            (name, number.ok_or_else(|| format!("{version:?} is not a version: write 1 or more"))?)
        }
    };
    FileName::parse(name).map_err(|error| error.to_string())?;
    let mut file = v1::FileRef {
        name: name.to_owned(),
        version,
        target: target.to_owned(),
        ..v1::FileRef::default()
    };
    for part in parts {
        let owner = |text: &str| {
            text.parse().map_err(|_| format!("{part:?}: write a number, as in uid=1000"))
        };
        match part.split_once('=') {
            Some(("mode", text)) => file.mode = Some(mode(text)?),
            Some(("uid", text)) => file.uid = Some(owner(text)?),
            Some(("gid", text)) => file.gid = Some(owner(text)?),
            _ => return Err(format!("{part:?} is not known here: write mode, uid or gid")),
        }
    }
    Ok(file)
}

/// Reads a mode in octal digits, as in `0400`.
///
/// # Errors
/// What to write instead.
pub fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777).ok_or_else(|| {
        format!("{text:?} is not a mode: write up to 777 in octal digits, as in 0400")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_part_by_part() {
        assert_eq!(secret("db").unwrap().target, "/run/secrets/db");
        let full = secret("db@3:/etc/db.key,mode=0400,uid=1000,gid=0").unwrap();
        assert_eq!((full.name.as_str(), full.version), ("db", 3));
        assert_eq!((full.target.as_str(), full.mode), ("/etc/db.key", Some(0o400)));
        assert_eq!((full.uid, full.gid), (Some(1000), Some(0)));
        assert_eq!(config("app:/etc/app.toml").unwrap().version, 0);
        for (wrong, says) in [
            ("", "not a name"),
            ("a b", "not a name"),
            ("db@0", "not a version"),
            ("db@new", "not a version"),
            ("db,mode=0888", "octal"),
            ("db,mode=7777", "octal"),
            ("db,uid=root", "number"),
            ("db,what=1", "not known"),
        ] {
            let refused = secret(wrong).unwrap_err();
            assert!(refused.contains(says), "{wrong}: {refused}");
        }
        assert!(config("app").unwrap_err().contains("names no path"));
    }

    #[test]
    fn a_place_is_taken_over_and_a_version_forgotten() {
        let mut template = v1::TaskTemplate::default();
        let flags = FileFlags { secret: vec![secret("db@1").unwrap()], config: Vec::new() };
        flags.lay_over(&mut template);
        let flags = FileFlags { secret: vec![secret("db@2").unwrap()], config: Vec::new() };
        flags.lay_over(&mut template);
        assert_eq!((template.secrets.len(), template.secrets[0].version), (1, 2));
        let rotate = FileChangeFlags { secret_rotate: true, ..FileChangeFlags::default() };
        rotate.change(&mut template).unwrap();
        assert_eq!(template.secrets[0].version, 0);
        let gone = FileChangeFlags { secret_rm: vec!["db".into()], ..FileChangeFlags::default() };
        gone.change(&mut template).unwrap();
        assert!(template.secrets.is_empty());
        for flags in [gone, rotate] {
            let refused = flags.change(&mut template).unwrap_err();
            assert!(refused.to_string().contains("the service has no secret"), "{refused}");
        }
    }
}
