//! Takes the errors of `object_store`, of the file system and of clients that wrap either; gives one
//! error, sorted by what the caller can do about it. Its text never holds a query, user info or a
//! signature, and says what to check where the store's own words do not.

use std::fmt;
use std::io;

/// The words by which a stop is known where a client passes errors on as text.
const STOPPED: &str = "stopped as asked";

/// What a store could not do. The message names the operation, the URL with its key, and the causes.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The object or folder is not there.
    #[error("cannot {operation} {place}: it is not there")]
    NotFound { operation: &'static str, place: String },
    /// The object is another version than the one that was asked for: list it again.
    #[error("cannot {operation} {place}: it was overwritten since it was listed")]
    Changed { operation: &'static str, place: String },
    /// Failed after the client's own retries; trying again later may help (exit 75).
    #[error("cannot {operation} {place}: {cause} (gave up after retries; try again later)")]
    Transient { operation: &'static str, place: String, cause: String },
    /// [`stop`](super::stop) was called meanwhile or before (exit 75).
    #[error("stopped as asked")]
    Stopped,
    /// The lease on a place is another writer's by now, or could not be renewed in time: nothing more
    /// may be published under it.
    #[error("the lease on {place} is lost: {cause}")]
    LeaseLost { place: String, cause: String },
    /// The store knows no such bucket, or does not let these credentials in: a mistake in the pipeline file or
    /// the environment (exit 2).
    #[error("cannot {operation} {place}: {cause}")]
    Refused { operation: &'static str, place: String, cause: String },
    /// Everything else: a wrong URL, denied access, a full disk.
    #[error("cannot {operation} {place}: {cause}")]
    Other { operation: &'static str, place: String, cause: String },
}

/// Set as the source of an `object_store` error by our own layers.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("stopped as asked")]
    Stopped,
    #[error("{0}")]
    NoCredentials(&'static str),
    /// The store answers 501 to what it does not know, such as a condition.
    #[error("the store does not implement this: {0}")]
    NotImplemented(String),
    #[error("the store answered {0}; check the region and the endpoint")]
    Redirected(String),
    #[error("{0}")]
    NoSuchBucket(String),
}

impl StorageError {
    /// Whether the same call may succeed later (exit 75).
    pub fn is_transient(&self) -> bool {
        matches!(self, StorageError::Transient { .. })
    }

    /// Whether the object or folder is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StorageError::NotFound { .. })
    }

    /// Whether the store refuses what the pipeline file or the environment name.
    pub fn is_refused(&self) -> bool {
        matches!(self, StorageError::Refused { .. })
    }

    /// Whether the object is another version than the one asked for.
    pub fn is_changed(&self) -> bool {
        matches!(self, StorageError::Changed { .. })
    }

    /// Whether [`stop`](super::stop) ended the call.
    pub fn is_stopped(&self) -> bool {
        matches!(self, StorageError::Stopped)
    }

    /// The storage error inside an error of a reader, if it holds one: an object that changed while it
    /// was read is told apart from a lost connection by it.
    pub fn of_read(error: &io::Error) -> Option<&StorageError> {
        error.get_ref()?.downcast_ref()
    }

    pub(super) fn cause(&self) -> String {
        match self {
            StorageError::NotFound { .. } => "it is not there".to_owned(),
            StorageError::Changed { .. } => "it was overwritten since it was listed".to_owned(),
            StorageError::Stopped => STOPPED.to_owned(),
            StorageError::Transient { cause, .. }
            | StorageError::LeaseLost { cause, .. }
            | StorageError::Refused { cause, .. }
            | StorageError::Other { cause, .. } => cause.clone(),
        }
    }

    pub(super) fn other(
        operation: &'static str,
        place: impl fmt::Display,
        cause: impl Into<String>,
    ) -> Self {
        StorageError::Other { operation, place: place.to_string(), cause: cause.into() }
    }

    pub(super) fn from_io(
        operation: &'static str,
        place: impl fmt::Display,
        error: &io::Error,
    ) -> Self {
        if not_there(error) {
            return StorageError::NotFound { operation, place: place.to_string() };
        }
        StorageError::from_error(operation, place, error)
    }

    /// Sorts an error of `object_store`, or of a client that wraps one, by what the caller can do.
    pub(crate) fn from_error(
        operation: &'static str,
        place: impl fmt::Display,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        use object_store::Error as Store;
        let place = place.to_string();
        let other = |cause: String| StorageError::Other { operation, place: place.clone(), cause };
        let refused =
            |cause: String| StorageError::Refused { operation, place: place.clone(), cause };
        let mut cause = String::new();
        let mut transient = false;
        let mut missing = false;
        let mut changed = false;
        let mut denied = false;
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refusal) = error.downcast_ref::<Refusal>() {
                return match refusal {
                    Refusal::Stopped => StorageError::Stopped,
                    Refusal::NoSuchBucket(text) => {
                        refused(format!("{} ({})", no_bucket(&place), scrubbed(text)))
                    }
                    Refusal::NoCredentials(_) | Refusal::Redirected(_) => {
                        refused(refusal.to_string())
                    }
                    refusal => other(refusal.to_string()),
                };
            }
            match error.downcast_ref::<Store>() {
                Some(Store::NotFound { .. }) => missing = true,
                Some(Store::Precondition { .. } | Store::NotModified { .. }) => changed = true,
                Some(Store::PermissionDenied { .. } | Store::Unauthenticated { .. }) => {
                    denied = true;
                }
                _ => transient |= is_passing(error),
            }
            if let Some(error) = error.downcast_ref::<object_store::path::Error>() {
                return other(format!(
                    "{error}: such a name cannot be read or written here; rename or delete that object"
                ));
            }
            let text = error.to_string();
            // Most errors print their source too: only what is new is added.
            if !cause.contains(&text) {
                if !cause.is_empty() {
                    cause.push_str(": ");
                }
                cause.push_str(&text);
            }
            next = error.source();
        }
        let cause = scrubbed(&cause);
        if says_no_bucket(&cause) {
            return refused(format!("{} ({cause})", no_bucket(&place)));
        }
        if missing {
            return StorageError::NotFound { operation, place };
        }
        if changed {
            return StorageError::Changed { operation, place };
        }
        if cause.contains(STOPPED) {
            return StorageError::Stopped;
        }
        if denied || reads_as_denied(&cause) {
            return refused(format!("{} ({cause})", denied_advice(&place, &cause)));
        }
        match transient || reads_as_passing(&cause) {
            true => StorageError::Transient { operation, place, cause },
            false => other(cause),
        }
    }
}

/// A path through something that is no folder is as absent as a missing file.
pub(super) fn not_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether the refusal stands anywhere in the chain of causes.
pub(super) fn refusal<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Refusal> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(refusal);
        }
        next = error.source();
    }
    None
}

/// S3's, COS's and GCS's word for it, then Azure's.
pub(super) fn says_no_bucket(text: &str) -> bool {
    text.contains("NoSuchBucket") || text.contains("ContainerNotFound")
}

fn no_bucket(place: &str) -> &'static str {
    match place.split("://").next() {
        Some("s3" | "s3a") => {
            "there is no such bucket at this endpoint and region: check the name in the URL, \
             and AWS_ENDPOINT and AWS_REGION or the options endpoint and region"
        }
        _ => "there is no such bucket or container: check the name in the URL, and the account",
    }
}

/// What to check after a refusal: the names of options and variables, by the kind of store.
fn denied_advice(place: &str, cause: &str) -> &'static str {
    if cause.contains("PathStyleDomainForbidden") {
        return "this store takes the bucket in the host only: set the options \
                virtual_hosted_style_request = \"true\" and \
                endpoint = \"https://<bucket>.cos.<region>.myqcloud.com\"";
    }
    if cause.contains("RequestTimeTooSkewed") {
        return "this machine's clock differs from the store's: set it right";
    }
    match place.split("://").next() {
        Some("s3" | "s3a") if cause.contains("SignatureDoesNotMatch") => {
            "access denied: check AWS_SECRET_ACCESS_KEY and AWS_REGION, \
             or the options secret_access_key and region"
        }
        Some("s3" | "s3a") => {
            "access denied: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or \
             the options access_key_id, secret_access_key and session_token, and what that key may do"
        }
        Some("gs") => {
            "access denied: check GOOGLE_SERVICE_ACCOUNT or the option service_account, \
             and what that account may do"
        }
        Some("az" | "azure" | "abfs" | "abfss" | "adl") => {
            "access denied: check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the \
             options account_name and account_key, and what that account may do"
        }
        Some("file") => "access denied: check the owner and the mode of the folder",
        _ => "access denied: check what the server lets you do",
    }
}

/// Whether an error is of the kind that passes: the network's, or the machine's.
fn is_passing(error: &(dyn std::error::Error + 'static)) -> bool {
    use io::ErrorKind::*;
    if error.downcast_ref::<object_store::client::HttpError>().is_some() {
        return true;
    }
    error.downcast_ref::<io::Error>().is_some_and(|error| {
        matches!(
            error.kind(),
            TimedOut
                | Interrupted
                | WouldBlock
                | ConnectionRefused
                | ConnectionReset
                | ConnectionAborted
                | NotConnected
                | BrokenPipe
                | UnexpectedEof
                | HostUnreachable
                | NetworkUnreachable
                | NetworkDown
                | StaleNetworkFileHandle
        )
    })
}

/// The words before a status in the text of `object_store`'s retry error, whose type is private, and
/// which the Delta client passes on as text.
const STATUS: &str = "Server returned non-2xx status code: ";

/// The status code in an error's text, if it holds one.
pub(super) fn status_in(cause: &str) -> Option<u16> {
    cause.split(STATUS).nth(1)?.get(..3)?.parse().ok()
}

fn reads_as_passing(cause: &str) -> bool {
    // Our own refusals are answers, though the client wraps them as it wraps a broken connection.
    let refused = ["no credentials: ", "the store does not implement this: "];
    if refused.iter().any(|words| cause.contains(words)) {
        return false;
    }
    matches!(status_in(cause), Some(408 | 429 | 500..600))
        || cause.contains("Server returned error response: ")
        || cause.contains("HTTP error: ")
}

fn reads_as_denied(cause: &str) -> bool {
    matches!(status_in(cause), Some(401 | 403))
}

/// The text with user info and queries cut out of every URL in it: signatures live there.
pub(super) fn scrubbed(text: &str) -> String {
    let ends_url = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | '`');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let (url, tail) = after.split_at(after.find(ends_url).unwrap_or(after.len()));
        let host_end = url.find(['/', '?', '#']).unwrap_or(url.len());
        let host_start = url[..host_end].rfind('@').map_or(0, |at| at + 1);
        let url = &url[host_start..];
        out.push_str(&url[..url.find(['?', '#']).unwrap_or(url.len())]);
        rest = tail;
    }
    out.push_str(rest);
    out
}
