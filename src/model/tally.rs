//! The conservation law as a type: counters that flow with the data and must add up.

use std::collections::BTreeMap;
use std::fmt;

/// Counters of one object, one shard or one run. They are added with checks; `balance` says whether
/// nothing was lost or made on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Tally {
    /// Objects that the listing held and the pipeline's pattern takes.
    pub objects_listed: u64,
    /// Objects already loaded, by (key, size, etag).
    pub objects_known: u64,
    /// Objects read to their end, with or without rejects in them.
    pub objects_parsed: u64,
    /// Objects of which nothing at all could be read.
    pub objects_rejected: u64,
    /// Objects that were listed and had gone when they were to be read.
    pub objects_gone: u64,
    /// Records begun in the objects read.
    pub records_seen: u64,
    /// Records of at least one attempt, kept or rejected one by one.
    pub records_with_attempts: u64,
    /// Results without an attempt: `LivenessDetail` null, absent or empty.
    pub records_empty: u64,
    /// `{"Response":{"Error":…}}`.
    pub records_error_response: u64,
    pub records_rejected: u64,
    /// Elements of `LivenessDetail` seen in the records not rejected.
    pub details_seen: u64,
    /// Of a Seq that the table did not hold.
    pub details_new: u64,
    /// Of a Seq known already, saying the same.
    pub details_duplicate: u64,
    /// Of a Seq known already, from a later snapshot that says otherwise in charge flag, code or time.
    pub details_changed: u64,
    pub details_rejected: u64,
    /// Of a usage day outside `--from`/`--to`: left for the run that loads that day.
    pub details_outside: u64,
    /// Members that the API does not document, by path.
    pub unknown_members: BTreeMap<String, u64>,
}

/// An equation of the conservation law that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub law: &'static str,
    pub left: u64,
    pub right: u64,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is not {}", self.law, self.left, self.right)
    }
}

impl Tally {
    /// Adds the counters of a part. Counters are `u64` and a run cannot count to the end of them; an
    /// overflow would be our bug, so it panics rather than wraps.
    pub fn add(&mut self, part: &Tally) {
        let Tally {
            objects_listed,
            objects_known,
            objects_parsed,
            objects_rejected,
            objects_gone,
            records_seen,
            records_with_attempts,
            records_empty,
            records_error_response,
            records_rejected,
            details_seen,
            details_new,
            details_duplicate,
            details_changed,
            details_rejected,
            details_outside,
            unknown_members,
        } = part;
        for (into, n) in [
            (&mut self.objects_listed, objects_listed),
            (&mut self.objects_known, objects_known),
            (&mut self.objects_parsed, objects_parsed),
            (&mut self.objects_rejected, objects_rejected),
            (&mut self.objects_gone, objects_gone),
            (&mut self.records_seen, records_seen),
            (&mut self.records_with_attempts, records_with_attempts),
            (&mut self.records_empty, records_empty),
            (&mut self.records_error_response, records_error_response),
            (&mut self.records_rejected, records_rejected),
            (&mut self.details_seen, details_seen),
            (&mut self.details_new, details_new),
            (&mut self.details_duplicate, details_duplicate),
            (&mut self.details_changed, details_changed),
            (&mut self.details_rejected, details_rejected),
            (&mut self.details_outside, details_outside),
        ] {
            *into = into.checked_add(*n).expect("a counter passed 2^64");
        }
        for (path, n) in unknown_members {
            *self.unknown_members.entry(path.clone()).or_default() += n;
        }
    }

    /// The equations of the conservation law that do not hold; empty when all is well.
    pub fn broken(&self) -> Vec<Broken> {
        let laws = [
            (
                "objects listed = known + parsed + rejected + gone",
                self.objects_listed,
                self.objects_known
                    + self.objects_parsed
                    + self.objects_rejected
                    + self.objects_gone,
            ),
            (
                "records seen = with attempts + empty + error responses + rejected",
                self.records_seen,
                self.records_with_attempts
                    + self.records_empty
                    + self.records_error_response
                    + self.records_rejected,
            ),
            (
                "attempts seen = new + duplicate + changed + rejected + outside the window",
                self.details_seen,
                self.details_new
                    + self.details_duplicate
                    + self.details_changed
                    + self.details_rejected
                    + self.details_outside,
            ),
        ];
        laws.into_iter()
            .filter(|(_, left, right)| left != right)
            .map(|(law, left, right)| Broken { law, left, right })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Tally {
        Tally {
            objects_listed: 7,
            objects_known: 1,
            objects_parsed: 3,
            objects_rejected: 2,
            objects_gone: 1,
            records_seen: 10,
            records_with_attempts: 4,
            records_empty: 3,
            records_error_response: 2,
            records_rejected: 1,
            details_seen: 15,
            details_new: 5,
            details_duplicate: 4,
            details_changed: 3,
            details_rejected: 2,
            details_outside: 1,
            unknown_members: BTreeMap::from([("$.X".to_owned(), 2)]),
        }
    }

    #[test]
    fn one_lost_anywhere_breaks_one_law() {
        assert_eq!(balanced().broken(), []);
        type Counter = fn(&mut Tally) -> &mut u64;
        let counters: [(Counter, &str); 16] = [
            (|t| &mut t.objects_listed, "objects"),
            (|t| &mut t.objects_known, "objects"),
            (|t| &mut t.objects_parsed, "objects"),
            (|t| &mut t.objects_rejected, "objects"),
            (|t| &mut t.objects_gone, "objects"),
            (|t| &mut t.records_seen, "records"),
            (|t| &mut t.records_with_attempts, "records"),
            (|t| &mut t.records_empty, "records"),
            (|t| &mut t.records_error_response, "records"),
            (|t| &mut t.records_rejected, "records"),
            (|t| &mut t.details_seen, "attempts"),
            (|t| &mut t.details_new, "attempts"),
            (|t| &mut t.details_duplicate, "attempts"),
            (|t| &mut t.details_changed, "attempts"),
            (|t| &mut t.details_rejected, "attempts"),
            (|t| &mut t.details_outside, "attempts"),
        ];
        for (counter, law) in counters {
            for by in [1i64, -1] {
                let mut tally = balanced();
                let n = counter(&mut tally);
                *n = n.wrapping_add_signed(by);
                let broken = tally.broken();
                assert_eq!(broken.len(), 1);
                assert!(broken[0].law.starts_with(law), "{}", broken[0]);
            }
        }
    }

    #[test]
    fn sums_of_balanced_parts_balance() {
        let mut sum = balanced();
        sum.add(&balanced());
        assert_eq!(sum.broken(), []);
        assert_eq!((sum.details_seen, sum.unknown_members["$.X"]), (30, 4));
    }
}
