//! What is asked of the driver while workers wait for it.

use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Waker};

use super::*;

/// Puts what is asked first into the driver's way, which is held up; whoever asks goes on later.
fn begin<F: Future>(asked: std::pin::Pin<&mut F>) {
    assert!(asked.poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

/// A coordinator whose driver is in the middle of storing something, until that is let go.
async fn held_up(fixture: &Fixture) -> (Coordinator, Hold) {
    let hold = Hold::default();
    let store = HeldStore { inner: fixture.store.clone(), hold: hold.clone() };
    let coordinator = fixture.open_on(Box::new(store));
    let handle = coordinator.handle();
    store_inputs(handle.artifacts());
    hold.close();
    tokio::spawn(async move { handle.submit(plan("sweep"), Sources::new(), 0).await });
    let held = hold.clone();
    tokio::task::spawn_blocking(move || held.await_held()).await.unwrap();
    (coordinator, hold)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_long_to_answer_leaves_the_rest_of_what_is_asked_to_the_next_round() {
    let fixture = Fixture::new();
    let (coordinator, hold) = held_up(&fixture).await;
    let handle = coordinator.handle();
    let clock_ms = fixture.clock_ms.clone();
    let (begun, has_begun) = std::sync::mpsc::sync_channel(1);
    let (go_on, goes_on) = std::sync::mpsc::sync_channel(1);
    let mut long = pin!(handle.ask(move |_| {
        begun.send(()).unwrap();
        goes_on.recv().unwrap();
        clock_ms.fetch_add(50, Ordering::SeqCst);
    }));
    let mut next = pin!(handle.ask(|view| view.state.dispatch.workers().len()));
    begin(long.as_mut());
    begin(next.as_mut());
    hold.open();
    tokio::task::spawn_blocking(move || has_begun.recv().unwrap()).await.unwrap();

    let mut registered = pin!(handle.register(worker("w1"), Vec::new()));
    begin(registered.as_mut());
    go_on.send(()).unwrap();

    assert_eq!(next.await, Ok(1), "the worker does not wait for all that is asked");
    registered.await.unwrap();
    long.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_gone_is_not_answered() {
    let fixture = Fixture::new();
    let (coordinator, hold) = held_up(&fixture).await;
    let handle = coordinator.handle();
    let is_answered = Arc::new(AtomicBool::new(false));
    let answered = is_answered.clone();
    {
        let mut gone = pin!(handle.ask(move |_| answered.store(true, Ordering::SeqCst)));
        begin(gone.as_mut());
    }

    hold.open();
    settle(&handle).await;

    assert!(!is_answered.load(Ordering::SeqCst));
}
