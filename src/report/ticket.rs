//! A support ticket: what the audit found, ready to send. Seqs and codes only.

use crate::model::{Audit, AuditFinding};
use std::collections::BTreeMap;

/// The text, in Chinese and English; empty when nothing was found.
pub fn ticket(audit: &Audit) -> String {
    if audit.findings.is_empty() {
        return String::new();
    }
    // What is charged against the rules comes first: it is what a customer asks about.
    let mut groups: BTreeMap<Key<'_>, Vec<&str>> = BTreeMap::new();
    for finding in &audit.findings {
        groups.entry(Key::of(finding)).or_default().push(&finding.seq);
    }
    let (charged, free) = (audit.charged_against_rule, audit.free_against_rule);
    let mut text = format!(
        "人脸核身：IsNeedCharge 与公布的计费错误码不一致\n\
         FaceID: IsNeedCharge contradicts the published charging codes\n\n\
         您好，请核对以下 Seq：{charged} 次按公布的计费错误码不应计费却标记为计费，{free} 次应计费却标记为不计费。\n\
         Please check these Seqs: {charged} are marked as charged although the published codes say they are free, {free} are \
         marked as free although the codes say they are charged.\n"
    );
    let listed = audit.findings.len() as i64;
    if listed < audit.findings_total {
        text.push_str(&format!(
            "以下列出其中 {listed} 次（共 {total} 次）。\nListed below are {listed} of {total}.\n",
            total = audit.findings_total
        ));
    }
    for (key, seqs) in groups {
        let (zh, en) = match key.published_charge {
            false => ("标记计费，公布不计费", "marked charged, published as free"),
            true => ("标记不计费，公布计费", "marked free, published as charged"),
        };
        let since = match key.rule_from {
            "" => String::new(),
            from => format!("; 自 since {from}"),
        };
        text.push_str(&format!(
            "\nErrcode {} · {zh} / {en} · 规则 rule {}{since} · {}\n",
            key.errcode,
            key.edition,
            seqs.len()
        ));
        for seq in seqs {
            text.push_str(seq);
            text.push('\n');
        }
    }
    text
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Key<'a> {
    published_charge: bool,
    errcode: i32,
    edition: &'a str,
    rule_from: &'a str,
}

impl<'a> Key<'a> {
    fn of(finding: &'a AuditFinding) -> Key<'a> {
        Key {
            published_charge: finding.published_charge,
            errcode: finding.errcode,
            edition: &finding.edition,
            rule_from: &finding.rule_from,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(seq: &str, errcode: i32, is_need_charge: bool) -> AuditFinding {
        AuditFinding {
            seq: seq.into(),
            usage_date: "2024-11-01".into(),
            billing_tag: "增强版人脸核身（权威库）-微信".into(),
            errcode,
            is_need_charge,
            published_charge: !is_need_charge,
            edition: "general".into(),
            rule_from: "2021-07-19".into(),
            money: None,
        }
    }

    #[test]
    fn a_ticket_lists_seqs_by_code_and_nothing_else() {
        let audit = Audit {
            checked: 10,
            charged_against_rule: 2,
            free_against_rule: 1,
            findings: vec![
                finding("a", 0, false),
                finding("b", 1002, true),
                finding("c", 1002, true),
            ],
            findings_total: 3,
            ..Audit::default()
        };
        let text = ticket(&audit);
        let charged = "Errcode 1002 · 标记计费，公布不计费 / marked charged, published as free · 规则 rule general; 自 since 2021-07-19 · 2\nb\nc\n";
        let free = "Errcode 0 · 标记不计费，公布计费 / marked free, published as charged · 规则 rule general; 自 since 2021-07-19 · 1\na\n";
        assert!(text.ends_with(&format!("\n{charged}\n{free}")), "{text}");
        assert!(!text.contains("2024-11-01") && !text.contains("增强版"), "{text}");
        assert!(!text.contains("Listed below"));
        assert!(ticket(&Audit { findings_total: 9, ..audit }).contains("Listed below are 3 of 9."));
        assert_eq!(ticket(&Audit::default()), "");
    }
}
