//! How far a run has come: a bar when stderr is a terminal, a plain line every few seconds when not.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Counts {
    objects: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    rejects: AtomicU64,
}

/// Counters that workers add to, and what shows them.
pub struct Progress {
    counts: Arc<Counts>,
    bar: Option<ProgressBar>,
    objects_total: u64,
    lines: Option<Lines>,
}

/// The thread that prints lines, and what tells it to end.
struct Lines {
    over: Arc<(Mutex<bool>, Condvar)>,
    thread: std::thread::JoinHandle<()>,
}

impl Progress {
    pub fn start(objects_total: u64, bytes_total: u64) -> Progress {
        let counts = Arc::new(Counts::default());
        let mut progress =
            Progress { counts: counts.clone(), bar: None, objects_total, lines: None };
        if objects_total == 0 {
            return progress;
        }
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(bytes_total);
            let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta} left";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            progress.bar = Some(bar);
            return progress;
        }
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = done.clone();
        let thread = std::thread::spawn(move || {
            let started = Instant::now();
            let (flag, changed) = &*watched;
            let Ok(mut over) = flag.lock() else { return };
            loop {
                // Asked before it waits, too: a short run is over before this thread begins.
                match changed.wait_timeout_while(over, LINE_EVERY, |over| !*over) {
                    Ok((state, _)) => over = state,
                    Err(_) => return,
                }
                if *over {
                    return;
                }
                let read = counts.bytes.load(Ordering::Relaxed);
                let elapsed = started.elapsed().as_secs();
                let left = match read {
                    0 => "unknown".to_owned(),
                    read => format!("{} s", elapsed * bytes_total.saturating_sub(read) / read),
                };
                super::talk(&format!(
                    "read {} of {objects_total} objects, {} of {}, {} rows, {} rejects, {elapsed} s, time left {left}\n",
                    counts.objects.load(Ordering::Relaxed),
                    HumanBytes(read),
                    HumanBytes(bytes_total),
                    counts.rows.load(Ordering::Relaxed),
                    counts.rejects.load(Ordering::Relaxed),
                ));
            }
        });
        progress.lines = Some(Lines { over: done, thread });
        progress
    }

    /// Adds what a worker has done: whole objects, bytes stored, rows, rejects.
    pub fn add(&self, objects: u64, bytes: u64, rows: u64, rejects: u64) {
        let counts = &self.counts;
        let objects = counts.objects.fetch_add(objects, Ordering::Relaxed) + objects;
        counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        let rows = counts.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        let rejects = counts.rejects.fetch_add(rejects, Ordering::Relaxed) + rejects;
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
            bar.set_message(format!(
                "· {objects}/{} objects · {rows} rows · {rejects} rejects ·",
                self.objects_total
            ));
        }
    }

    pub fn finish(mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(lines) = self.lines.take() {
            let (flag, changed) = &*lines.over;
            if let Ok(mut over) = flag.lock() {
                *over = true;
            }
            changed.notify_all();
            // The thread only prints: that it has ended is all that can be asked of it.
            let _ = lines.thread.join();
        }
    }
}
