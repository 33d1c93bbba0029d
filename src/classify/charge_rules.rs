//! Published charging codes, from the one data file `charge_rules.toml`, and attempts held against them.
//!
//! Takes that file, which is part of the program, and attempts one by one. Gives a [`Verdict`] per attempt and, at the end,
//! an [`Audit`]. It never decides whether an attempt is charged (`IsNeedCharge` does), and never guesses: a code that no
//! table lists has no verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::catalogue::Catalogue;
use crate::model::{Amount, Audit, AuditFinding, UsageDay};

/// A line of pages that publish charging codes: its place among [`ChargeRules::editions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EditionId(u8);

/// Which edition a product falls under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EditionRoute {
    /// Product code of the catalogue.
    pub product: &'static str,
    /// `None`: all channels of the product.
    pub channel: Option<&'static str>,
    /// `None`: it is held against no table.
    pub edition: Option<EditionId>,
}

/// What was published about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Charged(Rule),
    Free(Rule),
    /// No table of the edition and day lists it.
    NotListed,
}

/// Where it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Code of the edition.
    pub edition: &'static str,
    /// First day of the table; `None`: as far back as is known.
    pub from: Option<UsageDay>,
    /// Page or document.
    pub source: &'static str,
}

/// All editions and tables. There is one.
#[derive(Debug)]
pub struct ChargeRules {
    editions: Vec<&'static str>,
    tables: Vec<Table>,
    applies: Vec<EditionRoute>,
}

#[derive(Debug)]
struct Table {
    edition: EditionId,
    from: Option<UsageDay>,
    to: Option<UsageDay>,
    source: &'static str,
    /// Sorted by code: whether it is charged.
    codes: Vec<(i32, bool)>,
}

impl ChargeRules {
    /// The rules, parsed at the first call.
    pub fn get() -> &'static ChargeRules {
        static RULES: LazyLock<ChargeRules> = LazyLock::new(|| {
            // As with the catalogue: a file of ours that does not load is our bug, and every test would show it.
            match ChargeRules::load(include_str!("charge_rules.toml")) {
                Ok(rules) => rules,
                Err(why) => panic!("src/classify/charge_rules.toml: {why}"),
            }
        });
        &RULES
    }

    /// Codes of the editions.
    pub fn editions(&self) -> Vec<&'static str> {
        self.editions.clone()
    }

    pub fn edition(&self, code: &str) -> Option<EditionId> {
        self.editions.iter().position(|known| *known == code).map(|at| EditionId(at as u8))
    }

    /// Which edition a product and channel fall under, if nobody says otherwise.
    pub fn applies(&self) -> &[EditionRoute] {
        &self.applies
    }

    /// What was published for an attempt of that day.
    pub fn verdict(&self, edition: EditionId, day: UsageDay, errcode: i32) -> Verdict {
        let holds = |table: &&Table| {
            table.edition == edition
                && table.from.is_none_or(|from| from <= day)
                && table.to.is_none_or(|to| day < to)
        };
        let Some(table) = self.tables.iter().find(holds) else { return Verdict::NotListed };
        let rule = Rule {
            edition: self.editions[usize::from(edition.0)],
            from: table.from,
            source: table.source,
        };
        match table.codes.binary_search_by_key(&errcode, |(code, _)| *code) {
            Ok(at) if table.codes[at].1 => Verdict::Charged(rule),
            Ok(_) => Verdict::Free(rule),
            Err(_) => Verdict::NotListed,
        }
    }

    fn load(text: &str) -> Result<ChargeRules, String> {
        // The rules live as long as the program, so that their strings can be handed out as 'static.
        let file: &'static File =
            Box::leak(Box::new(toml::from_str(text).map_err(|e| e.to_string())?));
        let editions = file.edition.iter().map(|edition| edition.code.as_str()).collect();
        let mut rules = ChargeRules { editions, tables: Vec::new(), applies: Vec::new() };
        for entry in &file.table {
            for code in &entry.editions {
                let edition = rules.edition(code).ok_or_else(|| format!("no edition {code}"))?;
                let table = entry.table(edition)?;
                let meets = |other: &Table| {
                    other.edition == edition
                        && other.to.is_none_or(|to| table.from.is_none_or(|from| from < to))
                        && table.to.is_none_or(|to| other.from.is_none_or(|from| from < to))
                };
                if rules.tables.iter().any(meets) {
                    return Err(format!("two tables of {code} hold on the same day"));
                }
                rules.tables.push(table);
            }
        }
        let catalogue = Catalogue::get();
        for entry in &file.applies {
            let known =
                |codes: Vec<&'static str>, code: &str| codes.into_iter().find(|c| *c == code);
            let product = known(catalogue.products(), &entry.product)
                .ok_or_else(|| format!("no product {}", entry.product))?;
            let channel = match &entry.channel {
                None => None,
                Some(channel) => Some(
                    known(catalogue.channels(product), channel)
                        .ok_or_else(|| format!("no channel {channel}"))?,
                ),
            };
            let edition = rules
                .edition(&entry.edition)
                .ok_or_else(|| format!("no edition {}", entry.edition))?;
            rules.applies.push(EditionRoute { product, channel, edition: Some(edition) });
        }
        Ok(rules)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    edition: Vec<EditionEntry>,
    table: Vec<TableEntry>,
    applies: Vec<AppliesEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EditionEntry {
    code: String,
    #[serde(rename = "label")]
    _label: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableEntry {
    editions: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    source: String,
    #[serde(rename = "trust")]
    _trust: String,
    charged: Vec<Codes>,
    free: Vec<Codes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Codes {
    One(i32),
    /// Both ends included.
    Range([i32; 2]),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AppliesEntry {
    product: String,
    channel: Option<String>,
    edition: String,
}

impl TableEntry {
    fn table(&'static self, edition: EditionId) -> Result<Table, String> {
        let day = |text: &Option<String>| match text {
            None => Ok(None),
            Some(text) => UsageDay::parse(text).map(Some).ok_or_else(|| format!("{text}: no day")),
        };
        let mut codes = BTreeMap::new();
        for (list, charged) in [(&self.charged, true), (&self.free, false)] {
            for entry in list {
                let range = match *entry {
                    Codes::One(code) => code..=code,
                    Codes::Range([first, last]) => first..=last,
                };
                if range.is_empty() {
                    return Err(format!("{range:?} is empty"));
                }
                for code in range {
                    if codes.insert(code, charged).is_some() {
                        return Err(format!("{code} stands twice in {}", self.source));
                    }
                }
            }
        }
        Ok(Table {
            edition,
            from: day(&self.from)?,
            to: day(&self.to)?,
            source: &self.source,
            codes: codes.into_iter().collect(),
        })
    }
}

/// An attempt as the audit sees it.
#[derive(Clone, Copy, Debug)]
pub struct AuditedAttempt<'a> {
    pub seq: &'a str,
    pub day: UsageDay,
    /// Label of the billing tag.
    pub billing_tag: &'a str,
    pub product: Option<&'a str>,
    pub channel: Option<&'a str>,
    pub errcode: Option<i32>,
    pub is_need_charge: Option<bool>,
}

/// Findings that an audit holds at most: those of the least Seqs. More would be read by nobody, and all are counted.
pub const FINDINGS_MAX: usize = 10_000;

/// Attempts held against the published codes, one by one. What it gives does not depend on their order, nor on how they
/// are split between auditors.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    /// First match first.
    routes: Vec<EditionRoute>,
    checked: i64,
    no_table: i64,
    unknown_flag: i64,
    not_listed: i64,
    charged_against_rule: i64,
    free_against_rule: i64,
    /// Charged against the rule: by day and tag.
    overcharged: BTreeMap<(UsageDay, String), i64>,
    findings: BTreeSet<AuditFinding>,
}

impl Auditor {
    /// `own` are the pipeline's routes to editions; they win over those known here.
    pub fn new(own: &[EditionRoute]) -> Auditor {
        let routes = own.iter().chain(ChargeRules::get().applies()).copied().collect();
        Auditor { routes, ..Auditor::default() }
    }

    /// The edition of a product and channel.
    fn edition(&self, product: Option<&str>, channel: Option<&str>) -> Option<EditionId> {
        let product = product?;
        let matches = |route: &&EditionRoute| {
            route.product == product && (route.channel.is_none() || route.channel == channel)
        };
        self.routes.iter().find(matches)?.edition
    }

    /// Holds one attempt against the rules. Without a flag it is neither right nor wrong, and not counted as checked.
    pub fn see(&mut self, attempt: &AuditedAttempt<'_>) {
        let Some(edition) = self.edition(attempt.product, attempt.channel) else {
            self.no_table += 1;
            return;
        };
        let verdict = match attempt.errcode {
            Some(code) => ChargeRules::get().verdict(edition, attempt.day, code),
            None => Verdict::NotListed,
        };
        let (published, rule) = match verdict {
            Verdict::NotListed => {
                self.not_listed += 1;
                return;
            }
            Verdict::Charged(rule) => (true, rule),
            Verdict::Free(rule) => (false, rule),
        };
        let Some(flag) = attempt.is_need_charge else {
            self.unknown_flag += 1;
            return;
        };
        self.checked += 1;
        if flag == published {
            return;
        }
        if flag {
            self.charged_against_rule += 1;
            *self.overcharged.entry((attempt.day, attempt.billing_tag.to_owned())).or_default() +=
                1;
        } else {
            self.free_against_rule += 1;
        }
        let full = self.findings.len() >= FINDINGS_MAX;
        if full && self.findings.last().is_some_and(|last| last.seq.as_str() < attempt.seq) {
            return;
        }
        self.findings.insert(AuditFinding {
            seq: attempt.seq.to_owned(),
            usage_date: attempt.day.to_string(),
            billing_tag: attempt.billing_tag.to_owned(),
            errcode: attempt.errcode.unwrap_or_default(),
            is_need_charge: flag,
            published_charge: published,
            edition: rule.edition.to_owned(),
            rule_from: rule.from.map(|day| day.to_string()).unwrap_or_default(),
            money: None,
        });
        self.cut();
    }

    fn cut(&mut self) {
        while self.findings.len() > FINDINGS_MAX {
            self.findings.pop_last();
        }
    }

    /// Takes in what another auditor has seen.
    pub fn merge(&mut self, other: Auditor) {
        self.checked += other.checked;
        self.no_table += other.no_table;
        self.unknown_flag += other.unknown_flag;
        self.not_listed += other.not_listed;
        self.charged_against_rule += other.charged_against_rule;
        self.free_against_rule += other.free_against_rule;
        for (key, count) in other.overcharged {
            *self.overcharged.entry(key).or_default() += count;
        }
        self.findings.extend(other.findings);
        self.cut();
    }

    /// The outcome. `unit_price` is that of a billing tag (by label) on a day, where there is one.
    pub fn finish(self, unit_price: impl Fn(&str, UsageDay) -> Option<Amount>) -> Audit {
        let (mut overcharge, mut overcharge_unpriced) = (None, 0);
        for ((day, tag), count) in &self.overcharged {
            let before = overcharge.unwrap_or(Amount::ZERO);
            let cost = unit_price(tag, *day).and_then(|unit| unit.checked_mul_count(*count));
            match cost.and_then(|cost| before.checked_add(cost)) {
                Some(sum) => overcharge = Some(sum),
                None => overcharge_unpriced += count,
            }
        }
        let money = |finding: &AuditFinding| {
            let day = UsageDay::parse(&finding.usage_date)?;
            // Only what was charged against the rule cost anything.
            unit_price(&finding.billing_tag, day).filter(|_| finding.is_need_charge)
        };
        let findings = self
            .findings
            .iter()
            .map(|finding| AuditFinding { money: money(finding), ..finding.clone() })
            .collect();
        Audit {
            checked: self.checked,
            no_table: self.no_table,
            unknown_flag: self.unknown_flag,
            not_listed: self.not_listed,
            charged_against_rule: self.charged_against_rule,
            free_against_rule: self.free_against_rule,
            overcharge,
            overcharge_unpriced,
            findings,
            findings_total: self.charged_against_rule + self.free_against_rule,
        }
    }
}

#[cfg(test)]
mod tests;
