//! Answers that may be old: `--stale` asks for them, and what they say of their age is told once.

use super::{Client, ClientArgs};
use crate::failure::Outcome;
use crate::output;
use clap::Args;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tower::Service;
use warren_wire::status::{APPLIED, SILENCE, STALE};

/// The flag of commands that look at what is agreed.
#[derive(Args, Clone, Copy, Debug)]
pub struct StaleArgs {
    /// Take what the manager that is asked knows, though it may be old: works without a leader
    #[arg(long)]
    stale: bool,
}

impl StaleArgs {
    /// Connects, to look.
    ///
    /// # Errors
    /// As [`ClientArgs::connect`].
    pub async fn connect(self, args: &ClientArgs) -> Outcome<Client> {
        let mut client = args.connect().await?;
        client.age = self.stale.then(Age::default);
        Ok(client)
    }
}

/// Whether the user has been told how old answers may be.
#[derive(Clone, Default)]
pub struct Age(Arc<AtomicBool>);

impl Age {
    fn told(&self, headers: &HeaderMap) {
        let number = |key| headers.get(key)?.to_str().ok()?.parse::<u64>().ok();
        let Some(applied) = number(APPLIED) else { return };
        if !self.0.swap(true, Ordering::Relaxed) {
            output::say(sentence(applied, number(SILENCE)));
        }
    }
}

fn sentence(applied: u64, silence: Option<u64>) -> String {
    let heard = match silence {
        Some(ms) => format!("heard a leader {} ago", output::duration(Duration::from_millis(ms))),
        None => "has heard no leader since it started".to_owned(),
    };
    format!(
        "as of entry {applied}: the manager that was asked {heard}; what is ready, leaders know"
    )
}

/// A way to a Warren on which answers may be old.
#[derive(Clone)]
pub struct Aged<S> {
    inner: S,
    age: Option<Age>,
}

impl<S> Aged<S> {
    pub(super) fn new(inner: S, age: Option<Age>) -> Self {
        Self { inner, age }
    }
}

impl<S> Service<Request<Body>> for Aged<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let age = self.age.clone();
        if age.is_some() {
            request.headers_mut().insert(STALE, HeaderValue::from_static("1"));
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let Some(age) = age {
                age.told(answer.headers());
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_an_answer_is_told_with_what_it_is_of() {
        let known = sentence(7, Some(65_000));
        assert!(known.starts_with("as of entry 7: ") && known.contains("1m 5s ago"), "{known}");
        assert!(sentence(7, None).contains("no leader since it started"));
    }
}
