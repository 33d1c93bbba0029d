//! The full join by Seq of our attempts with the provider's own list (`GetWeChatBillDetails`).
//!
//! The list is held (about 60 bytes an attempt, its Seqs beside), ours are looked at one by one. It covers WeChat
//! channels only, and only the days it was pulled for: an attempt of ours that it does not hold is told as ours alone
//! only where list and attempt speak of the same days and channels.

use super::OurRow;
use crate::model::{
    PartKind, ProviderAttempt, SeqDifference, SeqGroup, SeqJoin, SeqStatus, UsageDay,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Differences that a report holds; the table `seq_difference` has all.
pub const DIFFERENCES_MAX: usize = 10_000;

/// Channels of `GetWeChatBillDetails`: 微信原生 H5, 微信小程序, 微信普通 H5. Source: its API page, SDK 3.1.179.
const LISTED_CHANNELS: [&str; 3] = ["wechat_h5_native", "wechat_mini_program", "wechat_h5"];

/// One thing the list says of a place: a Seq, and what it is of the bill minus ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeqFact {
    pub kind: PartKind,
    pub count: i64,
    pub seq: String,
    /// Where the other side has it.
    pub other_day: Option<UsageDay>,
}

/// What the list says, by account, day and tag code.
#[derive(Clone, Debug, Default)]
pub struct SeqFacts(BTreeMap<(String, UsageDay, String), Vec<SeqFact>>);

impl SeqFacts {
    pub(super) fn of(&self, place: &(String, UsageDay, String)) -> &[SeqFact] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }

    fn add(
        &mut self,
        place: (String, UsageDay, String),
        kind: PartKind,
        count: i64,
        seq: &str,
        other_day: Option<UsageDay>,
    ) {
        let fact = SeqFact { kind, count, seq: seq.to_owned(), other_day };
        self.0.entry(place).or_default().push(fact);
    }
}

/// Joins rows as they are seen.
pub struct SeqJoiner {
    listed: HashMap<String, Listed>,
    /// Days of which the list speaks.
    days: BTreeSet<UsageDay>,
    join: SeqJoin,
    differences: Vec<SeqDifference>,
    facts: SeqFacts,
    /// Accounts and tags of listed channels that were seen: to which an attempt of the list alone can belong.
    tags: BTreeSet<(String, String)>,
    conflicts: i64,
}

struct Listed {
    attempt: ProviderAttempt,
    seen: bool,
}

/// The end of a join.
pub struct SeqOutcome {
    /// Its `differences` are cut at [`DIFFERENCES_MAX`].
    pub join: SeqJoin,
    /// All of them, sorted by Seq.
    pub differences: Vec<SeqDifference>,
    pub facts: SeqFacts,
    /// Seqs that the list has twice with different facts: the later file and row counted.
    pub conflicts: i64,
}

impl SeqJoiner {
    pub fn new(attempts: Vec<ProviderAttempt>) -> SeqJoiner {
        let mut joiner = SeqJoiner {
            listed: HashMap::with_capacity(attempts.len()),
            days: BTreeSet::new(),
            join: SeqJoin::default(),
            differences: Vec::new(),
            facts: SeqFacts::default(),
            tags: BTreeSet::new(),
            conflicts: 0,
        };
        for attempt in attempts {
            joiner.days.insert(UsageDay::of_instant(attempt.req_time));
            let place = (attempt.source_file.clone(), attempt.source_row);
            match joiner.listed.get_mut(&attempt.seq) {
                None => {
                    let seq = attempt.seq.clone();
                    joiner.listed.insert(seq, Listed { attempt, seen: false });
                }
                Some(held) => {
                    let same = held.attempt.req_time == attempt.req_time
                        && held.attempt.is_need_charge == attempt.is_need_charge;
                    joiner.conflicts += i64::from(!same);
                    if place > (held.attempt.source_file.clone(), held.attempt.source_row) {
                        held.attempt = attempt;
                    }
                }
            }
        }
        joiner
    }

    /// Days of which the list speaks.
    pub fn days(&self) -> &BTreeSet<UsageDay> {
        &self.days
    }

    pub fn see(&mut self, day: UsageDay, row: &OurRow<'_>) {
        let place = |day| (row.account.to_owned(), day, row.billing_tag_code.to_owned());
        let in_channel = row.channel.is_some_and(|channel| LISTED_CHANNELS.contains(&channel));
        if in_channel && !self.tags.iter().any(|(a, t)| a == row.account && t == row.billing_tag_code)
        {
            self.tags.insert((row.account.to_owned(), row.billing_tag_code.to_owned()));
        }
        let Some(listed) = self.listed.get_mut(row.seq) else {
            if in_channel && self.days.contains(&day) {
                self.join.ours_only += 1;
                let difference = difference(SeqStatus::OursOnly, row.seq, Some((day, row)), None);
                self.differences.push(difference);
                if row.charge == Some(true) {
                    self.facts.add(place(day), PartKind::OursOnly, -1, row.seq, None);
                }
            }
            return;
        };
        listed.seen = true;
        let theirs = &listed.attempt;
        let their_day = UsageDay::of_instant(theirs.req_time);
        if row.charge != Some(theirs.is_need_charge) {
            self.join.flag_differs += 1;
            let told = difference(SeqStatus::FlagDiffers, row.seq, Some((day, row)), Some(theirs));
            self.differences.push(told);
            let ours = i64::from(row.charge == Some(true));
            let count = i64::from(theirs.is_need_charge) - ours;
            if count != 0 {
                let there = if count > 0 { their_day } else { day };
                self.facts.add(place(there), PartKind::FlagDiffers, count, row.seq, None);
            }
        } else if their_day != day {
            self.join.day_differs += 1;
            let told = difference(SeqStatus::DayDiffers, row.seq, Some((day, row)), Some(theirs));
            self.differences.push(told);
            if theirs.is_need_charge {
                let kind = PartKind::Midnight;
                self.facts.add(place(day), kind, -1, row.seq, Some(their_day));
                self.facts.add(place(their_day), kind, 1, row.seq, Some(day));
            }
        } else {
            self.join.agree += 1;
        }
    }

    pub fn finish(mut self) -> SeqOutcome {
        for listed in self.listed.values().filter(|listed| !listed.seen) {
            let theirs = &listed.attempt;
            self.join.provider_only += 1;
            let told = difference(SeqStatus::ProviderOnly, &theirs.seq, None, Some(theirs));
            self.differences.push(told);
            // The list names no tag: it can be told only where there is one.
            if let (true, Some((account, tag)), 1) =
                (theirs.is_need_charge, self.tags.first(), self.tags.len())
            {
                let place = (account.clone(), UsageDay::of_instant(theirs.req_time), tag.clone());
                self.facts.add(place, PartKind::ProviderOnly, 1, &theirs.seq, None);
            }
        }
        self.differences.sort();
        let mut groups: BTreeMap<(Option<String>, i8, SeqStatus), i64> = BTreeMap::new();
        for told in &self.differences {
            *groups.entry((told.rule_id.clone(), told.hour, told.status)).or_default() += 1;
        }
        self.join.groups = groups
            .into_iter()
            .map(|((rule_id, hour, status), count)| SeqGroup { rule_id, hour, status, count })
            .collect();
        self.join.differences_total = self.differences.len() as i64;
        self.join.differences = self.differences.iter().take(DIFFERENCES_MAX).cloned().collect();
        SeqOutcome {
            join: self.join,
            differences: self.differences,
            facts: self.facts,
            conflicts: self.conflicts,
        }
    }
}

fn difference(
    status: SeqStatus,
    seq: &str,
    ours: Option<(UsageDay, &OurRow<'_>)>,
    theirs: Option<&ProviderAttempt>,
) -> SeqDifference {
    let req_time = ours.map(|(_, row)| row.req_time).or(theirs.map(|theirs| theirs.req_time));
    let ours_rule = ours.and_then(|(_, row)| row.rule_id).map(str::to_owned);
    SeqDifference {
        seq: seq.to_owned(),
        status,
        ours_day: ours.map(|(day, _)| day.to_string()),
        provider_day: theirs.map(|theirs| UsageDay::of_instant(theirs.req_time).to_string()),
        ours_charge: ours.and_then(|(_, row)| row.charge),
        provider_charge: theirs.map(|theirs| theirs.is_need_charge),
        billing_tag: ours.map(|(_, row)| row.billing_tag_code.to_owned()),
        rule_id: theirs.and_then(|theirs| theirs.rule_id.clone()).or(ours_rule),
        hour: req_time.map_or(0, |ms| (UsageDay::ms_of_day(ms) / 3_600_000) as i8),
        source_key: ours.map(|(_, row)| row.source_key.to_owned()),
        source_record: ours.map(|(_, row)| row.source_record),
        provider_file: theirs.map(|theirs| theirs.source_file.clone()),
        provider_row: theirs.map(|theirs| theirs.source_row),
    }
}
