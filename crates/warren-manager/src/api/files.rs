//! Secrets and configs: make, change, show. What a secret holds is sealed here and not shown again.

use super::actor::actor;
use super::{Api, CALL_TIMEOUT};
use tonic::{Request, Response, Status};
use v1::files_server::Files;
use warren_core::State;
use warren_core::command::{Command, Rejection};
use warren_core::service::Actor;
use warren_core::spec::{FileKind, FileName, FileVersion, Template};
use warren_core::vault::{CONFIG_BYTES_MAX, Fresh, SECRET_BYTES_MAX};
use warren_wire::convert::{self, file, text};
use warren_wire::status::{ApiError, Code};
use warren_wire::v1;
use zeroize::Zeroizing;

/// How often a new version is sealed anew because somebody else made one in between. Each try loses against one other
/// writer only.
const CONFLICTS_MAX: u32 = 8;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Files for Api {
    async fn create_file(
        &self,
        request: Request<v1::CreateFileRequest>,
    ) -> Answer<v1::CreateFileResponse> {
        let by = actor(&request);
        let work = Box::pin(self.make_file(request.into_inner(), by));
        self.call("CreateFile", CALL_TIMEOUT, work).await
    }

    async fn update_file(
        &self,
        request: Request<v1::UpdateFileRequest>,
    ) -> Answer<v1::UpdateFileResponse> {
        let by = actor(&request);
        let work = Box::pin(self.renew_file(request.into_inner(), by));
        self.call("UpdateFile", CALL_TIMEOUT, work).await
    }

    async fn list_files(
        &self,
        request: Request<v1::ListFilesRequest>,
    ) -> Answer<v1::ListFilesResponse> {
        let kind = request.into_inner().kind;
        let work = Box::pin(async move {
            let kind = file::kind("kind", kind)?;
            let state = self.look().await?.state;
            let files = state.items(kind).map(|item| file::info(&state, item)).collect();
            Ok(v1::ListFilesResponse { files })
        });
        self.call("ListFiles", CALL_TIMEOUT, work).await
    }

    async fn get_file(&self, request: Request<v1::GetFileRequest>) -> Answer<v1::GetFileResponse> {
        let work = Box::pin(self.show_file(request.into_inner()));
        self.call("GetFile", CALL_TIMEOUT, work).await
    }

    async fn delete_file(
        &self,
        request: Request<v1::DeleteFileRequest>,
    ) -> Answer<v1::DeleteFileResponse> {
        let by = actor(&request);
        let request = request.into_inner();
        let work = Box::pin(async move {
            let (kind, name) = named(request.kind, &request.name)?;
            self.propose(Command::RemoveFile { kind, name, by }).await?;
            Ok(v1::DeleteFileResponse {})
        });
        self.call("DeleteFile", CALL_TIMEOUT, work).await
    }
}

impl Api {
    async fn make_file(
        &self,
        request: v1::CreateFileRequest,
        by: Actor,
    ) -> Result<v1::CreateFileResponse, ApiError> {
        let content = Zeroizing::new(request.content);
        let (kind, name) = named(request.kind, &request.name)?;
        let bytes = size(kind, &content)?;
        let labels = convert::labels("labels", request.labels)?;
        let body = self.backend.vault.close(kind, &name, FileVersion(1), &content)?;
        drop(content);
        let file = Fresh { kind, name: name.clone(), body, bytes, by };
        self.propose(Command::CreateFile { file, labels }).await?;
        Ok(v1::CreateFileResponse { file: Some(info(&self.glance().state, kind, &name)?) })
    }

    async fn renew_file(
        &self,
        request: v1::UpdateFileRequest,
        by: Actor,
    ) -> Result<v1::UpdateFileResponse, ApiError> {
        let content = Zeroizing::new(request.content);
        let (kind, name) = named(request.kind, &request.name)?;
        let bytes = size(kind, &content)?;
        self.look().await?;
        for attempt in 1.. {
            let state = self.state();
            let item = state.item(kind, &name).ok_or_else(|| missing(kind, &name))?;
            let version = FileVersion(item.newest.0.saturating_add(1));
            let body = self.backend.vault.close(kind, &name, version, &content)?;
            let file = Fresh { kind, name: name.clone(), body, bytes, by: by.clone() };
            match self.propose(Command::UpdateFile { file, version }).await {
                Err(error) if error.code == Code::Aborted && attempt < CONFLICTS_MAX => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        Ok(v1::UpdateFileResponse { file: Some(info(&self.glance().state, kind, &name)?) })
    }

    async fn show_file(
        &self,
        request: v1::GetFileRequest,
    ) -> Result<v1::GetFileResponse, ApiError> {
        let (kind, name) = named(request.kind, &request.name)?;
        let state = self.look().await?.state;
        let item = state.item(kind, &name).ok_or_else(|| missing(kind, &name))?;
        let asked = (request.version > 0).then_some(FileVersion(request.version));
        let version = asked.unwrap_or(item.newest);
        let found = item.versions.get(&version).ok_or_else(|| {
            let (name, newest) = (name.clone(), item.newest);
            ApiError::from(Rejection::NoFileVersion { kind, name, version, newest })
        })?;
        let content = match kind {
            FileKind::Secret => Vec::new(),
            FileKind::Config => found.body.0.clone(),
        };
        Ok(v1::GetFileResponse { file: Some(file::info(&state, item)), content })
    }
}

/// Refuses what a template refers to and is not there, by the list that names it, and writes the newest version into
/// each reference without one.
pub(super) fn pin(state: &State, template: &mut Template) -> Result<(), ApiError> {
    state.pin_files(template).map_err(|rejection| match &rejection {
        Rejection::NoFile { kind, .. } | Rejection::NoFileVersion { kind, .. } => {
            ApiError::field(format!("spec.template.{kind}s"), rejection.to_string())
        }
        _ => rejection.into(),
    })
}

fn named(kind: i32, name: &str) -> Result<(FileKind, FileName), ApiError> {
    Ok((file::kind("kind", kind)?, text("name", name)?))
}

/// How large a content is, where it may be.
fn size(kind: FileKind, content: &[u8]) -> Result<u32, ApiError> {
    let most = match kind {
        FileKind::Secret => SECRET_BYTES_MAX,
        FileKind::Config => CONFIG_BYTES_MAX,
    };
    let bytes = content.len();
    let refused = |problem: String| Err(ApiError::field("content", problem));
    if bytes > most {
        return refused(format!("{bytes} bytes are more than {most}, the most a {kind} may have"));
    }
    if kind == FileKind::Secret && bytes == 0 {
        return refused("is empty: did the command before the pipe fail?".to_owned());
    }
    Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
}

fn missing(kind: FileKind, name: &FileName) -> ApiError {
    Rejection::NoFile { kind, name: name.clone() }.into()
}

fn info(state: &State, kind: FileKind, name: &FileName) -> Result<v1::FileInfo, ApiError> {
    state.item(kind, name).map(|item| file::info(state, item)).ok_or_else(|| missing(kind, name))
}
