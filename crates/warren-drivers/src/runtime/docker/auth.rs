//! Credentials for registries, from the caller or from a Docker `config.json`.

use crate::runtime::{Credentials, RuntimeError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// The registry of names without one, and the key under which `docker login` keeps its account.
const HUB: &str = "docker.io";
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What to show the registry of `image`: what the caller passed, else what the file has, else nothing.
pub(super) async fn credentials(
    image: &str,
    passed: Option<&Credentials>,
    file: Option<&Path>,
) -> Result<Option<DockerCredentials>, RuntimeError> {
    let registry = registry(image);
    if let Some(passed) = passed {
        return Ok(Some(DockerCredentials {
            username: Some(passed.username.clone()),
            password: Some(passed.password.clone()),
            serveraddress: Some(registry.to_owned()),
            ..Default::default()
        }));
    }
    let Some(file) = file else { return Ok(None) };
    let refuse = |why: String| RuntimeError::Refused {
        what: format!("registry credentials in {}", file.display()),
        why: format!("{why}; repair the file, or log in again with docker login {registry}"),
    };
    let text = match tokio::fs::read(file).await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(error.to_string())),
    };
    let config: ConfigFile =
        serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
    let key = if registry == HUB { HUB_KEY } else { registry };
    config.auths.get(key).map(|entry| entry.read(registry).map_err(refuse)).transpose()
}

/// The registry that an image's name begins with.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        Some(_) | None => HUB,
    }
}

#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// `user:password` in base64.
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl Entry {
    fn read(&self, registry: &str) -> Result<DockerCredentials, String> {
        let mut credentials = DockerCredentials {
            serveraddress: Some(registry.to_owned()),
            identitytoken: self.identitytoken.clone().filter(|token| !token.is_empty()),
            ..Default::default()
        };
        if let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let bytes =
                STANDARD.decode(auth).map_err(|_| format!("{registry}: auth is not base64"))?;
            let text = String::from_utf8(bytes).map_err(|_| format!("{registry}: not UTF-8"))?;
            let (username, password) =
                text.split_once(':').ok_or_else(|| format!("{registry}: no user:password"))?;
            credentials.username = Some(username.to_owned());
            credentials.password = Some(password.to_owned());
        }
        Ok(credentials)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_what_looks_like_a_host() {
        assert_eq!(registry("web"), HUB);
        assert_eq!(registry("team/web:v1"), HUB);
        assert_eq!(registry("localhost/web"), "localhost");
        assert_eq!(registry("127.0.0.1:5000/web:v1"), "127.0.0.1:5000");
        assert_eq!(registry("registry.example/web@sha256:00"), "registry.example");
    }

    #[tokio::test]
    async fn an_account_is_found_by_its_registry_and_a_damaged_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let read = |image: &'static str| {
            let file = file.clone();
            async move { credentials(image, None, Some(&file)).await }
        };
        assert_eq!(read("r.example/web").await, Ok(None), "no file");
        let auths = r#"{"auths": {"r.example": {"auth": "bWU6c2VjOnJldA=="},
            "https://index.docker.io/v1/": {"auth": "aHViOng="}, "bad.example": {"auth": "%"}}}"#;
        std::fs::write(&file, auths).unwrap();
        let found = read("r.example/web:v1").await.unwrap().unwrap();
        assert_eq!(found.username.as_deref(), Some("me"));
        assert_eq!(found.password.as_deref(), Some("sec:ret"));
        assert_eq!(read("web").await.unwrap().unwrap().username.as_deref(), Some("hub"));
        assert_eq!(read("other.example/web").await, Ok(None));
        assert!(read("bad.example/web").await.unwrap_err().to_string().contains("bad.example"));
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(read("web").await, Err(RuntimeError::Refused { .. })));
    }

    #[tokio::test]
    async fn passed_credentials_win_and_are_never_printed() {
        let passed = Credentials { username: "me".into(), password: "hidden".into() };
        let found = credentials("r.example/web", Some(&passed), None).await.unwrap().unwrap();
        assert_eq!(found.password.as_deref(), Some("hidden"));
        assert!(!format!("{passed:?}").contains("hidden"));
    }
}
