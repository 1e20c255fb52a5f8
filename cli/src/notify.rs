//! What the service manager hears that started this process, where one did: ready, how it goes, alive, stopping.
//!
//! It is systemd's protocol (`man sd_notify`): datagrams to the socket that `NOTIFY_SOCKET` names.

use std::convert::Infallible;
use std::sync::Once;
use std::time::Duration;

use sd_notify::NotifyState;
use tallymill_coordinator::pulse::Pulse;
use tallymill_worker::{Handle, Mode};

use crate::ui;

/// Variables by which a service manager says where it listens and what it expects: those of this process and no other.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Pause between two looks, and between two lines about how it goes.
const LOOK: Duration = Duration::from_secs(1);

/// Says something. That nobody listens is worth a warning, and no reason to stop.
fn tell(states: &[NotifyState<'_>]) {
    static WARNED: Once = Once::new();
    if let Err(error) = sd_notify::notify(states) {
        WARNED.call_once(|| tracing::warn!("the service manager does not hear this: {error}"));
    }
}

fn is_asked_for() -> bool {
    std::env::var_os(VARIABLES[0]).is_some()
}

/// Says that this process is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Stopping.")]);
}

/// How often to look: several times in the time after which silence means death.
fn period(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(LOOK, |most| (most / 4).clamp(Duration::from_millis(1), LOOK))
}

/// Tells how a coordinator is for as long as it runs: ready when `/readyz` is, and alive while its engine's thread is.
pub async fn attend(pulse: &Pulse, url: &str) -> Infallible {
    if !is_asked_for() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let mut looks = tokio::time::interval(period(watchdog));
    let serves = format!("Serving at {url}.");
    let mut told = None;
    loop {
        looks.tick().await;
        let ready = pulse.ready();
        if told.replace(ready) != Some(ready) {
            match ready {
                true => tell(&[NotifyState::Ready, NotifyState::Status(&serves)]),
                false => tell(&[NotifyState::Status(
                    "Not ready: the database takes no writes. Trying again.",
                )]),
            }
        }
        if watchdog.is_some() && pulse.beat().await {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells what a worker does, until it has finished.
pub async fn follow(handle: &mut Handle) {
    if !is_asked_for() {
        return handle.finished().await;
    }
    tell(&[NotifyState::Ready]);
    let mut told = String::new();
    loop {
        let news = |status: &tallymill_worker::Status| {
            status.mode == Mode::Finished || status.sentence() != told
        };
        let status = handle.until(news).await;
        // The same again is the last one of a worker that has ended.
        let ended = status.mode == Mode::Finished || status.sentence() == told;
        told = status.sentence();
        tell(&[NotifyState::Status(&ui::plain(&told))]);
        if ended {
            return;
        }
        // What it does changes many times a second.
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = handle.finished() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_hears_several_times_before_it_bites() {
        assert_eq!(period(None), LOOK);
        assert_eq!(period(Some(Duration::from_secs(120))), LOOK);
        assert_eq!(period(Some(Duration::from_secs(1))), Duration::from_millis(250));
        assert_eq!(period(Some(Duration::ZERO)), Duration::from_millis(1));
    }
}
