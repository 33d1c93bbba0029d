//! What could not be used, and where it stands. Never the value itself.

use std::fmt;

codes! {
    /// Why a record or one of its attempts was set aside: a closed list, each with a stable code.
    RejectReason {
        // The bytes of an object
        /// A gzip or zstd stream that does not decompress.
        BadCompression = "bad_compression",
        /// An object with no record in it.
        EmptyObject = "empty_object",
        /// A record longer than the bound of the reader.
        RecordTooLarge = "record_too_large",
        // The text of a record
        /// Bytes that are no UTF-8.
        InvalidUtf8 = "invalid_utf8",
        /// EF BB BF before the first record.
        ByteOrderMark = "byte_order_mark",
        /// The input ends inside a record.
        Truncated = "truncated",
        /// A comma before a closing bracket.
        TrailingComma = "trailing_comma",
        /// `//`, `/*` or `#` where JSON allows none.
        Comment = "comment",
        /// A raw control character (a line break too) inside a string.
        ControlCharacter = "control_character",
        /// An escape that JSON does not have.
        BadEscape = "bad_escape",
        /// Half of a UTF-16 surrogate pair.
        UnpairedSurrogate = "unpaired_surrogate",
        /// Nested deeper than 128 levels.
        TooDeep = "too_deep",
        /// A number that does not fit its column.
        NumberOutOfRange = "number_out_of_range",
        /// Any other breach of JSON's grammar.
        InvalidJson = "invalid_json",
        /// A member that the tables read stands twice in one object.
        DuplicateKey = "duplicate_key",
        // The shape of a record
        /// JSON, but none of the shapes a result has.
        NotAResult = "not_a_result",
        /// `EncryptedBody` without `Text`: decrypt upstream.
        EncryptedBody = "encrypted_body",
        /// A result pulled without its text part (InfoType without 1): its charges are not in it.
        TextMissing = "text_missing",
        /// A member of another JSON type than the API gives.
        WrongType = "wrong_type",
        // An attempt
        SeqMissing = "seq_missing",
        SeqEmpty = "seq_empty",
        ReqTimeMissing = "req_time_missing",
        /// Not a whole number of milliseconds.
        ReqTimeInvalid = "req_time_invalid",
        /// Before 2015 or after 2099: seconds instead of milliseconds, a zero, a far future.
        ReqTimeOutOfRange = "req_time_out_of_range",
        /// `IsNeedCharge` is neither true, false nor null.
        ChargeFlagNotBoolean = "charge_flag_not_boolean",
        /// A code that is no whole number.
        CodeInvalid = "code_invalid",
        /// `Sim` is no decimal of at most two places between 0 and 999.99.
        SimInvalid = "sim_invalid",
        /// An envelope time that is neither epoch milliseconds nor RFC 3339.
        EnvelopeTimeInvalid = "envelope_time_invalid",
    }
}

impl RejectReason {
    pub fn parse(code: &str) -> Option<RejectReason> {
        RejectReason::ALL.iter().copied().find(|r| r.code() == code)
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One thing set aside. A record that cannot be read gives one reject; an attempt that cannot be used
/// gives one reject of its own, and the record's other attempts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Record number in the object, from 0.
    pub record: i64,
    /// Offset in the (decompressed) object of the byte at fault.
    pub byte_offset: i64,
    /// `$.Response.Text.LivenessDetail[1].ReqTime`; `$` when the place has no path.
    pub json_path: String,
    pub reason: RejectReason,
    /// What is wrong and what to do, without any value from the record.
    pub message: String,
    /// Of the attempts set aside, the Seqs that could be read, in their order.
    pub seqs: Vec<String>,
    /// Whether it stands for one attempt (true) or for a whole record (false).
    pub of_attempt: bool,
}
