//! Tokens: what lets machines in, and what lets people and programs use the API from elsewhere. Each is made here,
//! shown once, and kept as a hash.

use super::Api;
use super::nodes::role;
use crate::access::is_built_in;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use warren_core::command::Command;
use warren_core::member::{AccessToken, JoinToken};
use warren_core::service::Actor;
use warren_core::spec::{FieldError, RoleName};
use warren_core::time::{WallTime, millis};
use warren_wire::convert::text;
use warren_wire::status::{ApiError, Code};
use warren_wire::trust::{self, TokenSecret, TrustError, sha256};
use warren_wire::v1;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// For how long a join token lets machines in where nothing is said: long enough to set a cluster up.
const JOIN_LIFETIME: Duration = DAY;
/// The most that may be said.
const JOIN_LIFETIME_MAX: Duration = DAY.saturating_mul(366);
/// For how long an access token is of use where nothing is said: as a certificate.
const ACCESS_LIFETIME: Duration = DAY.saturating_mul(90);
/// The most that may be said.
const ACCESS_LIFETIME_MAX: Duration = DAY.saturating_mul(2 * 366);
/// The least of both.
const LIFETIME_MIN: Duration = Duration::from_secs(60);

/// A token that is about to be made.
struct Fresh {
    secret: TokenSecret,
    expires: WallTime,
    /// SHA-256 of the authority's certificate.
    authority: [u8; 32],
}

impl Api {
    pub(super) async fn make_token(
        &self,
        request: v1::CreateJoinTokenRequest,
        by: Actor,
    ) -> Result<v1::CreateJoinTokenResponse, ApiError> {
        let role = role("role", &request.role)?;
        let Fresh { secret, expires, authority } =
            self.fresh(request.lifetime_ms, JOIN_LIFETIME, JOIN_LIFETIME_MAX).await?;
        let token = JoinToken { hash: secret.hash(), role, expires, by: by.clone() };
        if request.rotate {
            self.propose(Command::RevokeJoinTokens { role, by }).await?;
        }
        self.propose(Command::AddJoinToken { token }).await?;
        let token = trust::JoinToken { authority, secret };
        Ok(v1::CreateJoinTokenResponse {
            token: token.to_string(),
            expires_unix_ms: expires.0,
            managers: self.addresses(),
        })
    }

    pub(super) async fn revoke_tokens(
        &self,
        request: v1::RevokeJoinTokensRequest,
        by: Actor,
    ) -> Result<v1::RevokeJoinTokensResponse, ApiError> {
        let role = role("role", &request.role)?;
        let state = self.look().await?.state;
        let revoked = state.join_tokens().filter(|token| token.role == role).count();
        self.propose(Command::RevokeJoinTokens { role, by }).await?;
        Ok(v1::RevokeJoinTokensResponse { revoked: u32::try_from(revoked).unwrap_or(u32::MAX) })
    }

    pub(super) async fn make_access(
        &self,
        request: v1::CreateAccessTokenRequest,
        by: Actor,
    ) -> Result<v1::CreateAccessTokenResponse, ApiError> {
        let name = RoleName::parse(&request.name).map_err(|_| {
            let shown: String = request.name.chars().take(80).collect();
            let rule = "1 to 63 of a-z, 0-9 and '-', from a letter to a letter or digit";
            ApiError::field("name", format!("{shown:?} is not a name: {rule}"))
        })?;
        let roles = request.roles.iter().map(|role| text("roles", role));
        let roles = roles.collect::<Result<std::collections::BTreeSet<RoleName>, FieldError>>()?;
        if roles.is_empty() {
            return Err(ApiError::field("roles", "name one: what may its holder do?"));
        }
        if !roles.iter().any(is_built_in) {
            let only = roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let problem = format!(
                "{only} alone opens nothing: it is a name that approvals may ask for; give it with approver, or with \
                 viewer, operator, deployer or admin"
            );
            return Err(ApiError::field("roles", problem));
        }
        let Fresh { secret, expires, authority } =
            self.fresh(request.lifetime_ms, ACCESS_LIFETIME, ACCESS_LIFETIME_MAX).await?;
        let token = AccessToken { name, hash: secret.hash(), roles, expires, by };
        self.propose(Command::AddAccessToken { token }).await?;
        Ok(v1::CreateAccessTokenResponse {
            token: trust::AccessToken { authority, secret }.to_string(),
            expires_unix_ms: expires.0,
            managers: self.addresses(),
        })
    }

    pub(super) async fn access_tokens(&self) -> Result<v1::ListAccessTokensResponse, ApiError> {
        let state = self.look().await?.state;
        let tokens = state.access_tokens().map(|token| v1::AccessTokenInfo {
            name: token.name.to_string(),
            roles: token.roles.iter().map(ToString::to_string).collect(),
            expires_unix_ms: token.expires.0,
            by: token.by.name.clone(),
        });
        Ok(v1::ListAccessTokensResponse { tokens: tokens.collect() })
    }

    pub(super) async fn revoke_access(
        &self,
        request: v1::RevokeAccessTokenRequest,
        by: Actor,
    ) -> Result<v1::RevokeAccessTokenResponse, ApiError> {
        let name = text("name", &request.name)?;
        self.propose(Command::RevokeAccessToken { name, by }).await?;
        Ok(v1::RevokeAccessTokenResponse {})
    }

    async fn fresh(
        &self,
        lifetime_ms: u64,
        default: Duration,
        most: Duration,
    ) -> Result<Fresh, ApiError> {
        let lifetime = match lifetime_ms {
            0 => default,
            ms => Duration::from_millis(ms),
        };
        if !(LIFETIME_MIN..=most).contains(&lifetime) {
            let days = most.as_secs() / DAY.as_secs();
            return Err(ApiError::field(
                "lifetime_ms",
                format!("write from a minute to {days} days"),
            ));
        }
        let look = self.look().await?;
        let trust = look.state.trust().ok_or_else(|| {
            ApiError::unavailable("the cluster has no authority yet: try again shortly")
        })?;
        let failed = |error: TrustError| ApiError::new(Code::Internal, error.to_string());
        let secret = TokenSecret::generate().map_err(failed)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let expires = WallTime(millis(now + lifetime));
        Ok(Fresh { secret, expires, authority: sha256(&trust.authority) })
    }

    /// Where managers can be reached.
    fn addresses(&self) -> Vec<String> {
        self.managers().into_iter().map(|manager| manager.address).collect()
    }
}
