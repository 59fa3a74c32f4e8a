//! A manager with freeze windows, and people who freeze beside it.

use super::site::{Home, OPTIONS, Site};
use crate::FreezeWindow;
use warren_core::State;
use warren_core::command::Command;
use warren_core::service::Actor;

fn held_by(state: &State, by: &str) -> bool {
    state.freeze().is_some_and(|freeze| freeze.by.name == by)
}

async fn freeze(site: &Site, reason: Option<&str>) {
    let (reason, by) = (reason.map(str::to_owned), Actor::named("ann".to_owned()));
    let seen = site.state().freeze().cloned();
    site.apply(Command::SetFreeze { service: None, reason, by, seen }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_holds_releases_while_it_is_open_and_gives_way_to_people() {
    let mut home = Home::new();
    home.windows = vec![FreezeWindow::parse("* * * * * 1h drill").unwrap()];
    let site = home.start(OPTIONS).await;
    site.until("the window holds", |state| held_by(state, "freeze window drill")).await;
    freeze(&site, Some("audit")).await;
    assert!(held_by(&site.state(), "ann"));
    freeze(&site, None).await;
    let state = site.until("it holds again", |state| held_by(state, "freeze window drill")).await;
    assert_eq!(state.freeze().unwrap().reason, "drill");
    site.stop().await;

    // Without the window, its freeze is over.
    home.windows.clear();
    let site = home.start(OPTIONS).await;
    site.until("the freeze ends", |state| state.freeze().is_none()).await;
    site.stop().await;
}
