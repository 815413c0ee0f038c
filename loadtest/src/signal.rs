//! WHIP, WHEP and room sessions over HTTP: offers go out, answers come back, sessions are ended.

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use tokio::sync::{Semaphore, mpsc as async_mpsc};

/// Requests under way at once; a storm of joins beyond it waits here, which the join time shows.
const CONCURRENT_REQUESTS: usize = 256;

/// An answer may take so long before the join has failed.
const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);

/// What a worker wants of the server.
#[derive(Debug)]
pub(crate) enum Job {
    /// Posts an offer; the answer goes to `worker`, under `client`.
    Join {
        worker: usize,
        client: usize,
        url: Arc<str>,
        token: Option<Arc<str>>,
        offer: String,
    },
    /// Ends a session.
    Leave {
        url: String,
        token: Option<Arc<str>>,
    },
}

/// What came of a [`Job::Join`].
#[derive(Debug)]
pub(crate) struct Joined {
    pub(crate) client: usize,
    /// The answer and the session's URL, or why there is none.
    pub(crate) result: Result<(String, String), String>,
}

/// Where a worker hears of its joins.
pub(crate) struct Mailbox {
    pub(crate) answers: mpsc::Sender<Joined>,
    /// One byte wakes the worker.
    pub(crate) wake: std::os::unix::net::UnixStream,
}

/// Starts the thread that speaks HTTP; it ends when all senders of jobs are gone and all requests are done.
pub(crate) fn start(
    mailboxes: Vec<Mailbox>,
) -> std::io::Result<(async_mpsc::UnboundedSender<Job>, JoinHandle<()>)> {
    // As long as the list of visits at the most, and each is in it once.
    let (sender, mut jobs) = async_mpsc::unbounded_channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = reqwest::Client::builder()
        .timeout(REQUEST_TIMEOUT)
        .pool_max_idle_per_host(CONCURRENT_REQUESTS)
        .build()
        .map_err(std::io::Error::other)?;
    let mailboxes = Arc::new(mailboxes);
    let thread = std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let permits = Arc::new(Semaphore::new(CONCURRENT_REQUESTS));
                let mut tasks = tokio::task::JoinSet::new();
                while let Some(job) = jobs.recv().await {
                    let (client, mailboxes, permits) =
                        (client.clone(), Arc::clone(&mailboxes), Arc::clone(&permits));
                    tasks.spawn(async move {
                        let _permit = permits.acquire().await;
                        run(job, &client, &mailboxes).await;
                    });
                    while tasks.try_join_next().is_some() {}
                }
                while tasks.join_next().await.is_some() {}
            });
        })?;
    Ok((sender, thread))
}

async fn run(job: Job, http: &reqwest::Client, mailboxes: &[Mailbox]) {
    match job {
        Job::Join {
            worker,
            client,
            url,
            token,
            offer,
        } => {
            let result = post_offer(http, &url, token.as_deref(), offer).await;
            let mailbox = &mailboxes[worker];
            // A worker that is gone already has no use for the answer.
            if mailbox.answers.send(Joined { client, result }).is_ok() {
                let _ = std::io::Write::write(&mut &mailbox.wake, &[1]);
            }
        }
        Job::Leave { url, token } => {
            let mut request = http.delete(url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            // The run is over for this client: a server that has forgotten it already is no failure.
            let _ = request.send().await;
        }
    }
}

/// RFC 9725 §4.2: the offer by POST, 201 with the answer and a `Location`.
async fn post_offer(
    http: &reqwest::Client,
    url: &str,
    token: Option<&str>,
    offer: String,
) -> Result<(String, String), String> {
    let mut request = http
        .post(url)
        .header("content-type", "application/sdp")
        .body(offer);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|error| describe(&error))?;
    let status = response.status();
    let location = response
        .headers()
        .get("location")
        .and_then(|value| value.to_str().ok())
        .and_then(|location| response.url().join(location).ok());
    let body = response.text().await.map_err(|error| describe(&error))?;
    if status.as_u16() != 201 && status.as_u16() != 200 {
        let text: String = body.chars().take(200).collect();
        return Err(format!("{status}: {text}"));
    }
    let location = location.map(String::from).unwrap_or_default();
    Ok((body, location))
}

/// An error with its causes, of which the innermost says most.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
