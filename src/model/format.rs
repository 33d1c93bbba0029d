//! How the objects of a source are packed, and what stands around each result in them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How records stand in an object.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Found from the name or the first bytes of the object.
    #[default]
    Auto,
    /// JSON: one document, an array of records, or records one after the other.
    Json,
    /// One record per line.
    Ndjson,
}

/// How an object is compressed.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Compression {
    /// Found from the name or the first bytes of the object.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// Not compressed.
    #[serde(rename = "none")]
    Plain,
    /// gzip, all members.
    #[serde(rename = "gzip")]
    Gzip,
    /// Zstandard, all frames.
    #[serde(rename = "zstd")]
    Zstd,
}

/// Where in an outer object the result and its circumstances stand: JSON pointers (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// JSON pointer to the result, e.g. "/result"; "" when the outer object is the result itself.
    pub response: String,
    /// JSON pointer to the BizToken, e.g. "/biz_token". Default: none, the column stays null.
    #[serde(default)]
    pub biz_token: Option<String>,
    /// JSON pointer to the RuleId, e.g. "/rule_id". Default: none, the column stays null.
    #[serde(default)]
    pub rule_id: Option<String>,
    /// JSON pointer to a channel name of your own, for routes to match. Default: none.
    #[serde(default)]
    pub channel: Option<String>,
    /// JSON pointer to the time when the result was pulled: RFC 3339, or milliseconds since the epoch. Of several
    /// pulls of one attempt the latest wins. Default: none, the object's last-modified time stands in.
    #[serde(default)]
    pub fetched_at: Option<String>,
    /// JSON pointer to the time when the BizToken was made: RFC 3339, or milliseconds since the epoch. Two hours
    /// later no attempt can be added. Default: none.
    #[serde(default)]
    pub created_at: Option<String>,
}
