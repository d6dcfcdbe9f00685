use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::BodyExt as _;
use tokio::{join, runtime::Builder, sync::mpsc};

use super::{FRESH, Format, MAX_KEPT, PART, Renderings};
use crate::serve::{
    Request, Requests,
    snapshot::{Metric, Snapshot, Values},
};

/// Bytes of the label that each text has.
const SIZE: usize = 3 * PART;

/// Answers requests for snapshots until nobody is left to ask, and returns their number.
async fn answer(mut asked: mpsc::Receiver<Request>) -> usize {
    let mut count = 0;
    while let Some(Request::Snapshot(sender)) = asked.recv().await {
        count += 1;
        let now = SystemTime::now();
        let snapshot = Snapshot {
            start: now,
            time: now,
            metrics: vec![Metric {
                name: "metric",
                help: "A long label.",
                unit: None,
                values: Values::Info([("label", "x".repeat(SIZE))].into()),
            }],
        };
        sender.send(Arc::new(snapshot)).unwrap();
    }
    count
}

/// Runs `test`, and returns how often it has made the session answer.
fn snapshots_of<F: Future<Output = ()>>(test: impl FnOnce(Renderings) -> F) -> usize {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (requests, asked) = Requests::channel();
    let test = test(Renderings::new(requests));
    runtime.block_on(async { join!(test, answer(asked)).1 })
}

#[test]
fn requests_of_one_moment_share_a_text() {
    let snapshots = snapshots_of(async |renderings| {
        let get = || renderings.get(Format::Text);
        let (one, other) = join!(get(), get());
        let [one, other] = [one, other].map(|text| text.unwrap().unwrap());
        assert!(one.text.ptr_eq(&other.text));
        let [one, other] = [one.collect().await, other.collect().await];
        let [one, other] = [one, other].map(|text| text.unwrap().to_bytes());
        assert!(one == other && one.len() > SIZE, "{} bytes", one.len());
    });
    assert_eq!(snapshots, 1);
}

#[test]
fn formats_and_later_requests_have_texts_of_their_own() {
    let snapshots = snapshots_of(async |renderings| {
        renderings.get(Format::Text).await.unwrap().unwrap();
        renderings.get(Format::OpenMetrics).await.unwrap().unwrap();
        renderings.get(Format::OpenMetrics).await.unwrap().unwrap();
        tokio::time::sleep(FRESH + Duration::from_millis(10)).await;
        renderings.get(Format::Text).await.unwrap().unwrap();
    });
    assert_eq!(snapshots, 3);
}

#[test]
fn who_is_too_slow_is_cut_off() {
    snapshots_of(async |renderings| {
        let mut slow = renderings.get(Format::Text).await.unwrap().unwrap();
        let part = slow.frame().await.unwrap().unwrap();
        assert_eq!(part.into_data().unwrap().len(), PART);
        for newer in 0..MAX_KEPT {
            let is_kept = slow.text.upgrade().is_some();
            assert!(is_kept, "{newer} newer texts");
            // As if it were later.
            let mut kept = renderings.kept.lock().await;
            kept.iter_mut().for_each(|it| it.made -= FRESH);
            drop(kept);
            renderings.get(Format::Text).await.unwrap().unwrap();
        }
        assert_eq!(renderings.kept.lock().await.len(), MAX_KEPT);
        slow.frame().await.unwrap().unwrap_err();
    });
}
