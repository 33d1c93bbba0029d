//! Bills made by hand (here) and by Python's codecs (tests/data/bills), each fact worked out by eye.

use super::*;
use crate::model::{Amount, LineKind, UsageDay, UsageMonth};
use proptest::prelude::*;
use std::io::Write;

/// The shortest header of a detail bill, in its own words.
const HEADER: &str = "支付者UIN,产品名称,子产品名称,交易类型,订单ID,交易ID,扣费时间,开始使用时间,结束使用时间,组件类型,组件用量,优惠后总价";

fn row(own: &[(&str, &str)]) -> String {
    let cell = |name: &str| {
        let usual = match name {
            "支付者UIN" => "100001234567",
            "产品名称" => "人脸核身-云智慧眼",
            "子产品名称" => "E证通（权威库）",
            "交易类型" => "按量计费日结",
            "交易ID" => "20241102001",
            "扣费时间" => "2024-11-02 09:30:00",
            "开始使用时间" => "2024-11-01 00:00:00",
            "结束使用时间" => "2024-11-01 23:59:59",
            "组件用量" => "3",
            "优惠后总价" => "3.00000001",
            _ => "-",
        };
        own.iter().find(|(named, _)| *named == name).map_or(usual, |(_, value)| value).to_owned()
    };
    HEADER.split(',').map(cell).collect::<Vec<_>>().join(",")
}

fn csv(rows: &[String]) -> String {
    let mut text = format!("{HEADER}\r\n");
    for row in rows {
        text.push_str(row);
        text.push_str("\r\n");
    }
    text
}

fn read_text(text: &str) -> (BillContent, Collected) {
    read("bill.csv", text.as_bytes(), &Wording::default()).expect("a bill")
}

fn one(own: &[(&str, &str)]) -> BillLine {
    let (content, mut collected) = read_text(&csv(&[row(own)]));
    assert_eq!(collected.rejects, [], "{own:?}");
    assert_eq!((content.file.rows, content.file.lines), (1, 1));
    collected.lines.remove(0)
}

fn reject_of(own: &[(&str, &str)]) -> BillReject {
    let (content, mut collected) = read_text(&csv(&[row(own)]));
    assert_eq!((collected.lines.len(), content.file.rejects), (0, 1), "{own:?}");
    collected.rejects.remove(0)
}

fn refused(name: &str, bytes: &[u8]) -> String {
    read(name, bytes, &Wording::default()).expect_err("is refused").to_string()
}

fn amount(text: &str) -> Option<Amount> {
    Some(Amount::parse(text).expect("an amount"))
}

fn data(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bills").join(name);
    std::fs::read(path).expect("a file of tests/data/bills")
}

fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(*name, zip::write::SimpleFileOptions::default()).expect("begins");
        archive.write_all(bytes).expect("writes");
    }
    archive.finish().expect("ends").into_inner()
}

/// Lines without the places they come from.
fn placeless(mut collected: Collected) -> Vec<BillLine> {
    for line in &mut collected.lines {
        line.source_file = "".into();
        line.source_row = 0;
    }
    collected.lines
}

#[test]
fn every_encoding_gives_the_same_lines() {
    let mut all = Vec::new();
    for (name, encoding) in
        [("l3_utf8.csv", "utf-8"), ("l3_utf8_bom.csv", "utf-8-bom"), ("l3_gb18030.csv", "gb18030")]
    {
        let (content, collected) = read(name, &data(name), &Wording::default()).expect("a bill");
        assert_eq!(collected.rejects, [], "{name}");
        let file = &content.file;
        assert_eq!((file.kind.as_str(), file.encoding.as_str()), ("detail_csv", encoding));
        assert_eq!((file.rows, file.lines, file.lines_other_products), (5, 3, 1), "{name}");
        assert_eq!(content.totals, 1);
        all.push(placeless(collected));
    }
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
    let [eid, wechat, refund] = &all[0][..] else { panic!("three lines") };
    assert_eq!(&*eid.account, "100001234567");
    assert_eq!(eid.owner_uin.as_deref(), Some("100001234567"));
    assert_eq!(eid.operator_uin.as_deref(), Some("100001234567"));
    assert_eq!(eid.product_name.as_deref(), Some("E证通（权威库）"));
    assert_eq!(eid.bill_month, UsageMonth::parse("2024-11"));
    // 2024-11-02 09:30:00 +0800, by `date`.
    assert_eq!(eid.pay_time, Some(1_730_511_000_000));
    assert_eq!(
        (eid.usage_from, eid.usage_to),
        (UsageDay::parse("2024-11-01"), UsageDay::parse("2024-11-01"))
    );
    assert_eq!((eid.usage_total, eid.usage_deducted), (amount("1234"), amount("0")));
    assert_eq!((eid.usage_billed, eid.cost), (amount("1234"), amount("1234")));
    assert_eq!((eid.voucher, eid.incentive, eid.cash), (None, amount("0"), amount("1234")));
    assert_eq!(
        (eid.kind, eid.action_type.as_deref()),
        (Some(LineKind::Usage), Some("postpay_deduct_d"))
    );
    assert_eq!(eid.calls(), Some(1234));
    assert_eq!((wechat.contract_price, wechat.cost), (amount("0.96000001"), amount("5.76000006")));
    assert_eq!((wechat.usage_total, wechat.usage_deducted), (amount("10"), amount("4")));
    assert_eq!((refund.kind, refund.cost), (Some(LineKind::Refund), amount("-88.8")));
    assert_eq!(refund.instance_type.as_deref(), Some("资源包"));
    // The rows of the plain file: header 1, then 2, 3, (4 is of another product,) 5.
    let (_, collected) =
        read("l3_utf8.csv", &data("l3_utf8.csv"), &Wording::default()).expect("a bill");
    assert_eq!(collected.lines.iter().map(|l| l.source_row).collect::<Vec<_>>(), [2, 3, 5]);
}

#[test]
fn an_archive_of_split_files_is_one_bill() {
    let name = "https://x/100001234567-202411-by_used_time-bill_details.zip?sign=1";
    let bytes = data("100001234567-202411-by_used_time-bill_details.zip");
    let (content, collected) = read(name, &bytes, &Wording::default()).expect("a bill");
    assert_eq!((content.file.rows, content.file.lines), (4, 3));
    assert_eq!(content.file.encoding, "gb18030");
    assert_eq!(content.notes, [format!("{name}: passed over, being no CSV: 说明.txt")]);
    let places: Vec<(String, i64)> =
        collected.lines.iter().map(|l| (l.source_file.to_string(), l.source_row)).collect();
    let member = |n| format!("{name}!bill_{n}.csv");
    assert_eq!(places, [(member(1), 2), (member(1), 3), (member(2), 3)]);
    let (_, alone) =
        read("l3_utf8.csv", &data("l3_utf8.csv"), &Wording::default()).expect("a bill");
    assert_eq!(placeless(collected), placeless(alone));
}

#[test]
fn what_cannot_be_reconciled_is_refused_with_what_to_do() {
    let silent = [("订单ID", "-"), ("交易ID", "-"), ("扣费时间", "-")];
    let prepaid = row(&[("交易类型", "包年包月新购")]);
    let text = csv(&[prepaid.clone(), row(&silent), row(&silent)]);
    let message = refused("month.csv", text.as_bytes());
    assert!(message.contains("按月聚合") && message.contains("明细账单"), "{message}");
    // One day's line that is whole, and it is no such file.
    assert_eq!(read_text(&csv(&[row(&silent), row(&[])])).1.lines.len(), 2);
    let l2 = "支付者UIN,产品名称,子产品名称,交易类型,资源ID,开始使用时间,结束使用时间,优惠后总价\n1,a,b,c,d,e,f,1.00\n";
    let message = refused("l2.csv", l2.as_bytes());
    assert!(message.contains("L2") && message.contains("明细账单"), "{message}");
    let l1 = "产品名称,原价(元),优惠后总价(元)\n人脸核身,1.00,1.00\n";
    assert!(refused("l1.csv", l1.as_bytes()).contains("L1"));
    assert!(refused("l0.pdf", b"%PDF-1.7").contains("PDF"));
    assert!(refused("x.xls", b"\xD0\xCF\x11\xE0").contains("CSV"));
    assert!(refused("x.xlsx", &zipped(&[("xl/workbook.xml", b"<x/>")])).contains("xlsx"));
    assert!(refused("x.gz", b"\x1f\x8b\x08").contains("gzip"));
    assert!(refused("l3_utf16.csv", &data("l3_utf16.csv")).contains("UTF-16"));
    assert!(refused("encrypted.zip", &data("encrypted.zip")).contains("encrypted"));
    assert!(refused("cut.zip", b"PK\x03\x04 cut").contains("damaged"));
    assert!(refused("empty.csv", b"\xEF\xBB\xBF \r\n").contains("empty"));
    let message = refused("other.csv", b"a,b,c\n1,2,3\n");
    assert!(message.contains("支付者UIN, ") && message.contains("组件用量"), "{message}");
    let message = refused("x.json", br#"{"Response":{"Something":1}}"#);
    assert!(message.contains("DetailSet"), "{message}");
    let pack = zipped(&[("L1.csv", l1.as_bytes()), ("L0.pdf", b"%PDF")]);
    let message = refused("pack.zip", &pack);
    assert!(message.contains("no CSV of a detail bill") && message.contains("L0.pdf"), "{message}");
    assert!(refused("docs.zip", &zipped(&[("a.txt", b"x")])).contains("a.txt"));
    let twice = format!("{HEADER},优惠后总价（元）\n");
    assert!(refused("twice.csv", twice.as_bytes()).contains("two columns"));
    let split = zipped(&[
        ("1.csv", csv(&[]).as_bytes()),
        ("2.csv", format!("{HEADER},资源ID\n").as_bytes()),
    ]);
    assert!(refused("split.zip", &split).contains("differs"));
    let many: Vec<String> = (0..=MEMBERS_MAX).map(|n| format!("{n}.csv")).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|n| (n.as_str(), &b""[..])).collect();
    assert!(refused("many.zip", &zipped(&many)).contains("MEMBERS_MAX"));
    let open = format!("{}\"{}", csv(&[row(&[])]), "x\n".repeat(ROW_BYTES_MAX));
    let message = refused("open.csv", open.as_bytes());
    assert!(message.contains("line 3") && message.contains("ROW_BYTES_MAX"), "{message}");
}

#[test]
fn what_an_archive_unpacks_to_is_bounded() {
    let text = csv(&[row(&[]), row(&[])]);
    let bytes = zipped(&[("1.csv", text.as_bytes()), ("2.csv", text.as_bytes())]);
    let within = |bound: usize| {
        let wording = Wording::default();
        let mut reading = Reading::new("bill.zip", &wording);
        archive::read_within(&mut reading, "bill.zip", &bytes, bound as u64)
    };
    assert_eq!(within(2 * text.len()), Ok(()));
    // Of all members together, not of each.
    let refused = within(2 * text.len() - 1).expect_err("unpacks to more");
    assert!(refused.to_string().contains("UNPACKED_BYTES_MAX"), "{refused}");
}

/// A member that may be a bill and is not read as one is a reject; a text that has begun to count refuses its archive.
#[test]
fn members_that_may_be_bills_are_told() {
    let text = csv(&[row(&[])]);
    let other = text.replace("优惠后总价", "别的");
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = [&[0xFF, 0xFE], &wide[..]].concat();
    let tabs = text.replace(',', "\t");
    let unread = |name: &str, bytes: &[u8]| {
        let zip = zipped(&[("1.csv", text.as_bytes()), (name, bytes)]);
        let (content, collected) = read("b.zip", &zip, &Wording::default()).expect("a bill");
        assert_eq!((collected.lines.len(), content.members.len()), (1, 1), "{name}");
        let rejects = collected.rejects.iter();
        rejects.map(|r| (r.file.clone(), r.reason)).collect::<Vec<_>>()
    };
    for name in [
        "2.tsv",
        "2.csv.bak",
        "2.csv.1",
        "2.dat",
        "2.7z",
        "2.rar",
        "2.tar",
        "2.xlsm",
        "2.xlsb",
        "2.ods",
        "2.et",
        "2.xlsx",
        "2.json",
        "2.zip",
    ] {
        assert_eq!(unread(name, b"x"), [(format!("b.zip!{name}"), "member_unread")]);
    }
    for (name, bytes) in [
        ("2.txt", other.as_bytes()),
        ("2.txt", &wide),
        ("2.csv", &wide),
        ("2.txt", tabs.as_bytes()),
        ("page", PAGE.as_bytes()),
        ("page.txt", PAGE.as_bytes()),
        ("2.csv", PAGE.as_bytes()),
    ] {
        assert_eq!(unread(name, bytes), [(format!("b.zip!{name}"), "member_unread")]);
    }
    for name in
        ["说明.pdf", "readme.txt", "LICENSE", "a.png", "__MACOSX/1.csv", ".DS_Store", "Thumbs.db"]
    {
        assert_eq!(unread(name, b"Read me first, please.\n"), [], "{name}");
    }
    let open = format!("{text}{},\"{}", row(&[]), "x\n".repeat(ROW_BYTES_MAX));
    let zip = zipped(&[("1.csv", text.as_bytes()), ("2.txt", open.as_bytes())]);
    let message = refused("b.zip", &zip);
    assert!(message.contains("2.txt") && message.contains("ROW_BYTES_MAX"), "{message}");
    // One archive behind another: only the last would be read.
    let one = zipped(&[("1.csv", text.as_bytes())]);
    let message = refused("b.zip", &[&one[..], &one[..]].concat());
    assert!(message.contains("more than one archive"), "{message}");
    let message = refused("b.zip", &[&one[..], b"PK\x03\x04rest"].concat());
    assert!(message.contains("more than one archive"), "{message}");
    let filled = [&one[..], &[0; 64]].concat();
    assert_eq!(read("b.zip", &filled, &Wording::default()).expect("a bill").1.lines.len(), 1);
}

/// Texts beside a bill that look like one at first sight, and those that are one in another form.
#[test]
fn a_text_is_a_bill_by_what_its_lines_say() {
    let text = csv(&[row(&[])]);
    let wide = |text: &str| -> Vec<u8> {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        [&[0xFF, 0xFE], &units[..]].concat()
    };
    let titled = format!("2024 年 12 月明细账单\n\n{text}");
    for (bytes, expected) in [
        (wide("请先阅读\n"), 0),
        (b"[readme]\n".to_vec(), 0),
        (b"a; b; c; d; e\n".to_vec(), 0),
        (text.replace(',', "|").into_bytes(), 1),
        (titled.clone().into_bytes(), 1),
        (wide(&text), 1),
    ] {
        let zip = zipped(&[("1.csv", text.as_bytes()), ("2.txt", &bytes)]);
        let (content, collected) = read("b.zip", &zip, &Wording::default()).expect("a bill");
        assert_eq!((content.file.lines, collected.rejects.len()), (1, expected), "{bytes:?}");
    }
    // A hidden file is one; a summary by region, as packs hold it, is none.
    let zip = zipped(&[
        ("1.csv", text.as_bytes()),
        (".2.csv", text.as_bytes()),
        ("L1.csv", "地域,总费用,现金支付,代金券支付\n广州,5.03,5.03,0\n".as_bytes()),
    ]);
    let (content, collected) = read("b.zip", &zip, &Wording::default()).expect("a bill");
    assert_eq!((content.file.lines, collected.rejects), (2, vec![]));
}

/// Quotation marks that are never closed, and headers further down.
#[test]
fn rows_that_were_run_together_are_told() {
    let header = format!("{HEADER},备注");
    let (a, b) = (row(&[]), row(&[("组件用量", "500")]));
    let text = format!("{header}\n{a},\"foo\n{b},\"bar\n{a},x\n");
    let (_, collected) = read_text(&text);
    let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
    assert_eq!((rejects, collected.lines.len()), (vec![(2, "row_merged")], 1));
    // A line break within a cell is none of it.
    let text = format!("{header}\n{a},\"foo\nbar, baz\"\n");
    assert_eq!(read_text(&text).1.lines.len(), 1);
    let again = format!("{}{}", csv(std::slice::from_ref(&a)), csv(std::slice::from_ref(&b)));
    let (content, collected) = read_text(&again);
    assert_eq!((content.file.rows, collected.lines.len(), collected.rejects), (2, 2, vec![]));
    let other = HEADER.replace("组件类型,组件用量", "组件用量,组件类型");
    let text = format!("{}{other}\n{b}\n", csv(&[a]));
    let (_, collected) = read_text(&text);
    assert_eq!(collected.rejects[0].reason, "header_differs");
}

#[test]
fn cells_are_read_as_programs_leave_them() {
    let line = one(&[("优惠后总价", "0E-8"), ("扣费时间", "2024-11-02 09:30:00 +0800")]);
    assert_eq!(line.cost, amount("0"));
    assert_eq!(line.pay_time, one(&[]).pay_time);
    assert_eq!(reject_of(&[("优惠后总价", "1.2E-8")]).reason, "amount_invalid");
    // A time that cannot be read is told, and no aggregate.
    assert_eq!(reject_of(&[("扣费时间", "昨天"), ("交易ID", "-")]).reason, "time_invalid");
    let with = |month: &str| {
        let text = format!("{HEADER},账单归属月,账期\n{},{month},2024-11\n", row(&[]));
        let (_, mut collected) = read_text(&text);
        (collected.lines.pop().and_then(|line| line.bill_month), collected.rejects.len())
    };
    let november = UsageMonth::parse("2024-11");
    for month in ["202411", "Nov-24", "2024-11-01", "2024年11月"] {
        assert_eq!(with(month), (november, 0), "{month}");
    }
    assert_eq!(with("2024-12"), (None, 1));
}

#[test]
fn a_pack_with_a_detail_bill_is_read() {
    let l1 = "产品名称,优惠后总价(元)\n人脸核身,1.00\n";
    let pack = zipped(&[
        ("L1.csv", l1.as_bytes()),
        ("L3.csv", csv(&[row(&[])]).as_bytes()),
        ("inner.zip", b"PK\x03\x04"),
        ("__MACOSX/._L3.csv", b"\0\0"),
    ]);
    let (content, collected) = read("pack.zip", &pack, &Wording::default()).expect("a bill");
    assert_eq!(collected.lines.len(), 1);
    assert_eq!(content.notes.len(), 3, "{:?}", content.notes);
    assert!(content.notes[0].contains("L1.csv") && content.notes[1].contains("inner.zip"));
    assert!(content.notes[2].starts_with("pack.zip!L3.csv: no column for 组件原始用量"));
}

#[test]
fn headers_are_known_by_many_names() {
    let old = "\"支付者 UIN\",产品名称,子产品名称,交易类型,扣费时间,开始使用时间,结束使用时间,组件类型,组件用量,原价（元）,优惠后总价 (元),代金券支出(元),标签键:优惠后总价,标签键:优惠后总价\n\
        100001,人脸核身,E证通（权威库）,月结,2024-12-01 10:00:00,2024-11-01 00:00:00,2024-11-30 23:59:59,x,5,6,7,1,风控,风控\n";
    let (_, collected) = read_text(old);
    let line = &collected.lines[0];
    assert_eq!((line.cost_list, line.cost, line.voucher), (amount("6"), amount("7"), amount("1")));
    assert_eq!(line.action_type.as_deref(), Some("postpay_deduct_m"));
    let english = "Payer Account ID,ProductName,SubproductName,TransactionType,TransactionTime,Usage Start Time,Usage End Time,ComponentName,Component Usage,Currency,Total Amount After Discount (Excluding Tax),Total Cost (Including Tax)\n\
        100001,p_ai_image_huiyan,eKYC,Daily settlement,2024-11-02 10:00:00,2024-11-01 00:00:00,2024-11-01 23:59:59,x,5,USD,1.5,1.65\n";
    let (_, collected) = read_text(english);
    let line = &collected.lines[0];
    assert_eq!((line.cost, line.currency.as_deref()), (amount("1.5"), Some("USD")));
    assert_eq!(
        (line.kind, line.action_type_name.as_deref()),
        (Some(LineKind::Other), Some("Daily settlement"))
    );
    // Of two names of one column, the newer one counts.
    let both = format!("{HEADER},代金券支出,优惠券支出\n{},1,2\n", row(&[]));
    assert_eq!(read_text(&both).1.lines[0].voucher, amount("2"));
}

#[test]
fn cells_are_read_exactly_or_rejected() {
    for (text, expected) in [
        ("\"\t0.5\"", "0.5"),
        ("'0.5", "0.5"),
        ("=\"0.5\"", "0.5"),
        ("\"1,234,567.00000001\"", "1234567.00000001"),
        ("-12.30000000", "-12.3"),
        (" 7 ", "7"),
    ] {
        assert_eq!(one(&[("优惠后总价", text)]).cost, amount(expected), "{text}");
    }
    for nothing in ["-", "", "--", " - ", "－"] {
        let own = [("组件用量", "0"), ("优惠后总价", nothing)];
        assert_eq!(one(&own).cost, None, "{nothing}");
    }
    for text in ["\"12,34\"", "1E-05", "0.000000001", "¥1", "1.2.3", "\"1.5,000\"", "abc", "٣"] {
        let reject = reject_of(&[("优惠后总价", text)]);
        assert_eq!(
            (reject.reason, reject.column.as_str(), reject.row),
            ("amount_invalid", "优惠后总价", 2)
        );
        assert!(!reject.message.contains(text.trim_matches('"')), "{}", reject.message);
    }
    assert!(reject_of(&[("优惠后总价", "1E-05")]).message.contains("exponent"));
    assert_eq!(reject_of(&[("支付者UIN", "-")]).reason, "account_missing");
    assert_eq!(reject_of(&[("支付者UIN", "1.00001E+11")]).reason, "account_invalid");
    assert_eq!(reject_of(&[("开始使用时间", "2024-02-30")]).reason, "time_invalid");
    assert_eq!(reject_of(&[("结束使用时间", "2024-10-30")]).reason, "time_invalid");
    let timeless =
        [("交易类型", "-"), ("扣费时间", "-"), ("开始使用时间", "-"), ("结束使用时间", "-")];
    assert_eq!(reject_of(&timeless).reason, "month_missing");
}

#[test]
fn usage_that_says_nothing_of_what_it_bills_or_costs_is_rejected() {
    let measured = |total: &str, deducted: &str, billed: &str, cost: &str| {
        let header = format!("{HEADER},组件原始用量,抵扣用量（含资源包）");
        let line = row(&[("组件用量", billed), ("优惠后总价", cost)]);
        let (_, collected) = read_text(&format!("{header}\n{line},{total},{deducted}\n"));
        match (&collected.lines[..], &collected.rejects[..]) {
            ([line], []) => Ok((line.calls(), line.cost)),
            ([], [reject]) => Err((reject.row, reject.reason, reject.column.clone())),
            other => panic!("one row: {other:?}"),
        }
    };
    let usage = Err((2, "usage_missing", "组件用量".to_owned()));
    let cost = Err((2, "amount_missing", "优惠后总价".to_owned()));
    assert_eq!(measured("3", "0", "-", "-"), usage);
    assert_eq!(measured("3", "0", "-", "3.6"), usage);
    assert_eq!(measured("-", "-", "-", "-"), usage);
    // Without what was deducted nobody knows what was left.
    assert_eq!(measured("3", "-", "-", "-"), usage);
    assert_eq!(measured("3", "0", "3", "-"), cost);
    assert_eq!(measured("5", "2", "3", "-"), cost);
    // A package took all of it, or nothing was used: there is nothing to bill, and none of these is a guess.
    assert_eq!(measured("3", "3", "-", "-"), Ok((Some(3), None)));
    assert_eq!(measured("3", "3", "0", "-"), Ok((Some(3), None)));
    assert_eq!(measured("0", "-", "-", "-"), Ok((Some(0), None)));
    assert_eq!(measured("3", "-", "3", "0"), Ok((Some(3), amount("0"))));
    // Of what is no usage nothing is asked.
    let refund = [("交易类型", "包年包月退款"), ("组件用量", "-"), ("优惠后总价", "-")];
    assert_eq!(one(&refund).cost, None);
}

#[test]
fn measures_that_do_not_agree_are_told_with_file_and_row() {
    let header = format!("{HEADER},组件原始用量,抵扣用量");
    // Rows 2 to 7: 3 billed each. 5 - 2 and 3 - 0 (`-` is nothing) agree; the others do not.
    let measures = [("5", "2"), ("3", "-"), ("5", "-"), ("5", "1"), ("2", "0"), ("9", "9")];
    let rows: Vec<String> = measures
        .iter()
        .map(|(total, deducted)| format!("{},{total},{deducted}", row(&[])))
        .collect();
    let (content, collected) = read_text(&format!("{header}\n{}\n", rows.join("\n")));
    assert_eq!(collected.lines.len(), 6);
    assert_eq!(
        content.notes,
        [
            "组件原始用量 - 抵扣用量(含资源包) is not 组件用量 in bill.csv row 4, bill.csv row 5, bill.csv row 6, 1 more: the \
          calls of these lines are taken from 组件原始用量"
        ]
    );
}

#[test]
fn a_file_without_what_packages_deducted_says_so() {
    let notes = |more: &str, own: &[(&str, &str)]| {
        let cells = more.split(',').skip(1).map(|_| ",3").collect::<String>();
        read_text(&format!("{HEADER}{more}\n{}{cells}\n", row(own))).0.notes
    };
    let both = notes("", &[]);
    assert_eq!(both.len(), 1);
    assert_eq!(
        both[0],
        "bill.csv: no column for 组件原始用量 (looked for 组件原始用量, 原始用量, RealTotalMeasure) and none for \
         抵扣用量(含资源包) (looked for 抵扣用量(含资源包), 抵扣用量, DeductedMeasure): calls are taken from 组件用量, and those \
         that a package covered are missing in it"
    );
    let deducted = notes(",原始用量", &[]);
    assert!(deducted[0].contains("no column for 抵扣用量(含资源包)"), "{deducted:?}");
    assert_eq!(deducted.len(), 1, "3 of 3 are billed");
    // An unknown header is none of them.
    assert!(notes(",Component Raw Usage", &[])[0].contains("no column for 组件原始用量"));
    // A file without a line of ours loses nothing.
    assert_eq!(notes("", &[("产品名称", "云服务器")]), [""; 0]);
    let page = PAGE.replace(r#""RealTotalMeasure":5,"DeductedMeasure":"-","#, "");
    let (content, _) = read("p.json", page.as_bytes(), &Wording::default()).expect("a page");
    assert!(content.notes[0].contains("RealTotalMeasure"), "{:?}", content.notes);
}

#[test]
fn the_pipeline_s_words_for_transactions_go_first() {
    let wording = Wording::new(
        [],
        [
            ("Daily Settlement", LineKind::Usage),
            ("按量计费退款", LineKind::Refund),
            // Instead of what is known of it, by its name or by its code.
            ("按量计费冲正", LineKind::Adjustment),
            ("Recon_Deduct", LineKind::Other),
        ],
    );
    for (name, kind, is_told) in [
        ("daily  settlement", LineKind::Usage, true),
        ("ＤＡＩＬＹ settlement", LineKind::Usage, true),
        ("按量计费退款", LineKind::Refund, true),
        ("按量计费冲正", LineKind::Adjustment, true),
        ("recon_deduct", LineKind::Other, true),
        ("按量计费日结", LineKind::Usage, false),
        ("资源退费", LineKind::Other, false),
    ] {
        let text = csv(&[row(&[("交易类型", name)])]);
        let (_, collected) = read("bill.csv", text.as_bytes(), &wording).expect("a bill");
        assert_eq!(collected.lines[0].kind, Some(kind), "{name}");
        assert_eq!(wording.kind_of(&collected.lines[0]).is_some(), is_told, "{name}");
    }
}

#[test]
fn amounts_are_in_yuan_or_the_line_says_in_what() {
    let currency = |cost: &str, cells: &str| {
        let header = HEADER.replace("优惠后总价", cost);
        let line = row(&[]).replace(",3.00000001", &format!(",3.00000001{cells}"));
        let (_, collected) = read_text(&format!("{header}\n{line}\n"));
        (collected.lines[0].currency.clone(), collected.lines[0].is_in_yuan())
    };
    for (cost, cells, expected, in_yuan) in [
        ("优惠后总价", "", None, true),
        ("优惠后总价(元)", "", None, true),
        ("优惠后总价（CNY）", "", None, true),
        ("优惠后总价（USD）", "", Some("USD"), false),
        ("Total Amount After Discount (USD)", "", Some("USD"), false),
        ("Total Amount After Discount (HKD)", "", Some("HKD"), false),
        ("优惠后总价,币种", ",CNY", Some("CNY"), true),
        ("优惠后总价,币种", ",人民币", Some("人民币"), true),
        ("优惠后总价,Currency", ",USD", Some("USD"), false),
        ("优惠后总价(USD),Currency", ",-", Some("USD"), false),
    ] {
        let found = currency(cost, cells);
        assert_eq!((found.0.as_deref(), found.1), (expected, in_yuan), "{cost}");
    }
}

#[test]
fn times_are_beijing_times() {
    // By `date -d '… +0800' +%s`.
    for (text, ms) in [
        ("2024-11-01 00:00:00", 1_730_390_400_000),
        ("2024/11/1 0:00", 1_730_390_400_000),
        ("2024/11/1 0:00:01", 1_730_390_401_000),
        ("2024-11-01", 1_730_390_400_000),
        ("2024-11-01T23:59:59", 1_730_476_799_000),
        ("2024-11-1 9:05", 1_730_423_100_000),
    ] {
        assert_eq!(value::instant(text), Some(ms), "{text}");
    }
    for text in [
        "2024-11-01 24:00:00",
        "2024/13/1",
        "24/11/1",
        "2024-11-01 1:2:3",
        "45597.5",
        "2024-11-01 00:00:00 PM",
        "",
        "2024年11月1日",
    ] {
        assert_eq!(value::instant(text), None, "{text}");
    }
    for text in ["2024-11", "202411", "2024/11", "2024年11月", "2024-11-01 00:00:00"] {
        assert_eq!(value::month(text), UsageMonth::parse("2024-11"), "{text}");
    }
    assert_eq!(value::month("2024-13"), None);
    assert_eq!(value::json_amount("1.5e-3"), Ok(Amount::parse("0.0015").expect("an amount")));
    assert_eq!(value::json_amount("12E2"), Ok(Amount::parse("1200").expect("an amount")));
    assert_eq!(value::json_amount("-0.012e1"), Ok(Amount::parse("-0.12").expect("an amount")));
}

#[test]
fn a_row_that_ends_within_quotes_has_been_cut() {
    // Whole, the last row reads 15 of what comes last; cut, it would read 1.
    let text = csv(&[row(&[]), row(&[])]);
    let whole = text.trim_end().to_owned();
    let quoted = |end: &str| format!("{whole},\"15{end}");
    let (_, collected) = read_text(&quoted("\""));
    assert_eq!((collected.lines.len(), collected.rejects.len()), (1, 1));
    assert_eq!(collected.rejects[0].reason, "row_long");
    let (_, collected) = read_text(&quoted(""));
    let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
    assert_eq!((collected.lines.len(), rejects), (1, vec![(3, "row_cut")]));
    // Within the last cell that the header has.
    let (before, last) = whole.rsplit_once(',').expect("cells");
    let (_, collected) = read_text(&format!("{before},\"{last}"));
    let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
    assert_eq!((collected.lines.len(), rejects), (1, vec![(3, "row_cut")]));
    assert_eq!(read_text(&format!("{before},\"{last}\"")).1.lines.len(), 2);
}

#[test]
fn an_archive_that_hides_or_breaks_a_member_is_refused() {
    let text = csv(&[row(&[])]);
    let both = zipped(&[("a.csv", text.as_bytes()), ("b.csv", text.as_bytes())]);
    let (_, collected) = read("x.zip", &both, &Wording::default()).expect("a bill");
    assert_eq!(collected.lines.len(), 2);
    // Both with one name: of these the second alone would be read.
    let mut one_name = both.clone();
    while let Some(at) = memchr::memmem::find(&one_name, b"b.csv") {
        one_name[at] = b'a';
    }
    let refused = read("x.zip", &one_name, &Wording::default()).expect_err("a refusal");
    assert!(refused.to_string().contains("have the name of others"), "{refused}");
    // A byte of the first member's header, behind its local record of 30 bytes and its name, is another: it looks like no
    // bill, but is damaged.
    let mut stored = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    stored.start_file("a.csv", options).expect("begins");
    stored.write_all(text.as_bytes()).expect("writes");
    let mut stored = stored.finish().expect("ends").into_inner();
    stored[35 + 1] ^= 1;
    let refused = read("x.zip", &stored, &Wording::default()).expect_err("a refusal");
    assert!(refused.to_string().contains("a damaged zip archive"), "{refused}");
}

#[test]
fn rows_of_any_shape_are_counted() {
    let short = "100001,人脸核身,x".to_owned();
    let long = format!("{},more", row(&[]));
    let padded = format!("{},,", row(&[]));
    let broken = row(&[("组件类型", "\"two\r\nlines, \"\"quoted\"\"\"")]);
    let text = csv(&[
        row(&[]),
        String::new(),
        short,
        ",,,,".into(),
        long,
        broken,
        padded,
        "合计,,,,,,,,,,,9".into(),
    ]);
    let (content, collected) = read_text(&text);
    // 1 header, 2 line, 3 blank, 4 short, 5 separators, 6 long, 7 and 8 one row, 9 padded, 10 totals.
    assert_eq!(collected.lines.iter().map(|l| l.source_row).collect::<Vec<_>>(), [2, 7, 9]);
    assert_eq!(collected.lines[1].component_name.as_deref(), Some("two\r\nlines, \"quoted\""));
    let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
    assert_eq!(rejects, [(4, "row_short"), (6, "row_long")]);
    assert_eq!((content.file.rows, content.file.lines, content.totals), (6, 3, 1));
    // No line break at the end, and line feeds alone.
    let text = csv(&[row(&[]), row(&[])]).replace("\r\n", "\n");
    assert_eq!(read_text(text.trim_end()).1.lines.len(), 2);
}

#[test]
fn bytes_that_are_no_text_are_a_reject() {
    let mut bytes = csv(&[row(&[])]).into_bytes();
    bytes.extend(row(&[("子产品名称", "E证通X")]).into_bytes());
    let at = bytes.iter().rposition(|b| *b == b'X').expect("the mark");
    bytes[at] = 0xFF;
    let (content, collected) = read("bill.csv", &bytes, &Wording::default()).expect("a bill");
    assert_eq!((collected.lines.len(), content.file.encoding.as_str()), (1, "utf-8"));
    let reject = &collected.rejects[0];
    assert_eq!(
        (reject.reason, reject.row, reject.column.as_str()),
        ("encoding_invalid", 3, "子产品名称")
    );
    // A lone 0xFF is no GB18030 either.
    let (gb, _, _) = encoding_rs::GB18030.encode(HEADER);
    let bytes = [&gb, &b"\n100001,p_ai_image_huiyan,\xFF,,,,,,,,,\n"[..]].concat();
    let (content, collected) = read("bill.csv", &bytes, &Wording::default()).expect("a bill");
    assert_eq!(content.file.encoding, "gb18030");
    assert_eq!(collected.rejects[0].reason, "encoding_invalid");
}

#[test]
fn transactions_have_kinds() {
    for (name, kind, code) in [
        ("按量计费日结", LineKind::Usage, Some("postpay_deduct_d")),
        ("月结", LineKind::Usage, Some("postpay_deduct_m")),
        ("包年包月新购", LineKind::PackagePurchase, Some("prepay_purchase")),
        ("包年包月续费", LineKind::PackagePurchase, Some("prepay_renew")),
        ("包年包月退款", LineKind::Refund, Some("prepay_return")),
        ("按量计费冲正", LineKind::Refund, None),
        ("调账扣费", LineKind::Adjustment, Some("recon_deduct")),
        ("月度计费精度差异", LineKind::Rounding, Some("billVirtualId")),
        ("按量计费迁入资源", LineKind::Other, None),
    ] {
        let line = one(&[("交易类型", name)]);
        assert_eq!((line.kind, line.action_type.as_deref()), (Some(kind), code), "{name}");
        assert_eq!(line.action_type_name.as_deref(), Some(name));
    }
    let more = format!("{HEADER},计费模式,实例类型,备注属性\n");
    let text = format!(
        "{more}{},包年包月,资源包,-\n{},按量计费,-,调账-重出单\n",
        row(&[("交易类型", "预付费用")]),
        row(&[])
    );
    let kinds: Vec<_> = read_text(&text).1.lines.iter().map(|l| l.kind).collect();
    assert_eq!(kinds, [Some(LineKind::PackagePurchase), Some(LineKind::Adjustment)]);
}

#[test]
fn other_products_are_set_aside() {
    for name in [
        "人脸核身·云智慧眼",
        "人脸核身-云智慧眼",
        "人脸核身 · 云智慧眼",
        "人脸核身",
        "P_AI_IMAGE_HUIYAN",
    ] {
        one(&[("产品名称", name)]);
    }
    let others = csv(&[
        row(&[("产品名称", "云服务器 CVM"), ("优惠后总价", "unreadable")]),
        row(&[("产品名称", "人脸识别")]),
        // The rounding line of a whole bill names no product.
        row(&[("产品名称", "-"), ("交易类型", "月度计费精度差异")]),
    ]);
    let (content, collected) = read_text(&others);
    assert_eq!((content.file.lines_other_products, collected.lines.len()), (2, 1));
    assert_eq!(collected.rejects, []);
    let more = Wording::new(["人脸识别"], []);
    let (content, _) = read("bill.csv", others.as_bytes(), &more).expect("a bill");
    assert_eq!((content.file.lines_other_products, content.file.lines), (1, 2));
}

/// FaceID's own example of the API, made whole.
const PAGE: &str = r#"{"Response":{"DetailSet":[{"ComponentSet":[
 {"ComponentCodeName":"银行卡三要素","ItemCodeName":"人脸核身·云智慧眼-银行卡三要素","SinglePrice":"0.4","ContractPrice":0.4,
  "PriceUnit":"元/次/月","UsedAmount":"5","UsedAmountUnit":"次","RealTotalMeasure":5,"DeductedMeasure":"-","Cost":2,"RealCost":2.00000001,
  "CashPayAmount":1e-8,"VoucherPayAmount":"-0.5","InstanceType":"-"},
 {"ComponentCodeName":"银行卡四要素","ItemCodeName":"x","UsedAmount":"1","RealCost":"0.4"}],
 "BusinessCode":"p_ai_image_huiyan","BusinessCodeName":"人脸核身-云智慧眼","ProductCode":"sp_ai_image_huiyan_idbankcard",
 "ProductCodeName":"银行卡信息核验","ActionType":"postpay_deduct_m","ActionTypeName":"月结","PayModeName":"按量计费",
 "PayerUin":"909619400","FeeBeginTime":"2019-06-01 00:00:00","FeeEndTime":"2019-06-30 23:59:59","PayTime":"2019-07-01 14:56:05",
 "BillMonth":"2019-06-01 00:00:00","Id":"1234567890123456789","ProjectId":0,"Tags":[{"TagKey":"PayerUin","TagValue":"x"}],
 "ReserveDetail":{"Key":"调账-重出单"}}],"Total":2,"RequestId":"r"}}"#;

#[test]
fn pages_of_the_api_are_one_line_a_component() {
    let (content, collected) =
        read("p.json", PAGE.as_bytes(), &Wording::default()).expect("a page");
    assert_eq!(collected.rejects, []);
    assert_eq!(
        (content.file.kind.as_str(), content.file.rows, content.file.lines),
        ("detail_json", 2, 2)
    );
    let [three, four] = &collected.lines[..] else { panic!("two components") };
    assert_eq!(
        (three.account.to_string(), four.account.to_string()),
        ("909619400".into(), "909619400".into())
    );
    assert_eq!((three.contract_price, three.cost), (amount("0.4"), amount("2.00000001")));
    assert_eq!((three.cash, three.voucher), (amount("0.00000001"), amount("-0.5")));
    assert_eq!((three.usage_total, three.usage_deducted), (amount("5"), None));
    assert_eq!(three.product_code.as_deref(), Some("sp_ai_image_huiyan_idbankcard"));
    assert_eq!(
        (three.kind, three.line_id.as_deref()),
        (Some(LineKind::Adjustment), Some("1234567890123456789"))
    );
    assert_eq!(three.bill_month, UsageMonth::parse("2019-06"));
    assert_eq!((three.source_row, four.source_row), (0, 1));
    let [pages] = &content.pages[..] else { panic!("one query: {:?}", content.pages) };
    assert_eq!((pages.total, pages.ids.len()), (Some(2), 1));
    assert_eq!(content.notes, Vec::<String>::new());
}

#[test]
fn pages_come_in_any_wrapping() {
    let inner =
        PAGE.strip_prefix(r#"{"Response":"#).and_then(|p| p.strip_suffix('}')).expect("a page");
    let flat = PAGE.replace('\n', "");
    let alone = inner
        .replace(r#""DetailSet":["#, r#""DetailSet":"#)
        .replace(r#"}],"Total""#, r#"},"Total""#);
    for (text, pages) in [
        (inner.to_owned(), 1),
        (format!("\u{feff}[{PAGE},{inner}]"), 2),
        (format!("{flat}\n{flat}\n"), 2),
        (format!("{PAGE}{PAGE}"), 2),
        (format!("\u{feff}{PAGE}\n\u{feff}{PAGE}\n"), 2),
        (alone, 1),
    ] {
        let (content, collected) =
            read("p.json", text.as_bytes(), &Wording::default()).expect("pages");
        assert_eq!(collected.rejects, [], "{text}");
        assert_eq!((collected.lines.len(), content.file.rows), (2 * pages, 2 * pages as i64));
    }
    // A page that is cut is a reject, and the next one is read.
    let text = format!("{}\n{flat}\n", &flat[..flat.len() - 20]);
    let (_, collected) = read("p.json", text.as_bytes(), &Wording::default()).expect("pages");
    assert_eq!((collected.rejects.len(), collected.rejects[0].reason), (1, "json_invalid"));
    assert_eq!(collected.lines.len(), 4);
    let error =
        r#"{"Response":{"Error":{"Code":"AuthFailure","Message":"secret"},"RequestId":"r"}}"#;
    let (_, collected) = read("p.json", error.as_bytes(), &Wording::default()).expect("an error");
    assert_eq!(collected.rejects[0].reason, "response_error");
    assert!(!format!("{:?}", collected.rejects).contains("secret"));
}

/// What stands beside a page and is none, or in it and is no line, is told and never passed over.
#[test]
fn what_is_no_page_is_told() {
    let flat = PAGE.replace('\n', "");
    let text = serde_json::Value::from(flat.as_str()).to_string();
    let said = |more: &str| {
        let text = format!("{flat}\n{more}\n");
        let (_, collected) = read("p.json", text.as_bytes(), &Wording::default()).expect("pages");
        let rejects: Vec<_> = collected.rejects.into_iter().map(|r| (r.column, r.reason)).collect();
        (collected.lines.len(), rejects)
    };
    assert_eq!(said(""), (2, vec![]));
    // An empty list, null, a page behind the last one.
    for more in [
        r#"{"Response":{"DetailSet":[],"Total":2}}"#,
        r#"{"DetailSet":null}"#,
        r#"{"Response":{"Total":2,"RequestId":"r","Error":null}}"#,
    ] {
        assert_eq!(said(more), (2, vec![]), "{more}");
    }
    let invalid = |path: &str| (2, vec![(path.to_owned(), "page_invalid")]);
    for (more, path) in [
        (flat.replace("\"Response\"", "\"response\""), ""),
        (flat.replace("\"DetailSet\"", "\"detailSet\"").replace(",\"Total\":2", ""), ""),
        (format!(r#"{{"data":{flat}}}"#), ""),
        (r#"{"code":"AuthFailure","message":"no"}"#.to_owned(), ""),
        (text.clone(), ""),
        ("1".to_owned(), ""),
        (format!(r#"{{"Response":[{flat}]}}"#), "Response"),
        (format!(r#"{{"Response":{text}}}"#), "Response"),
        (r#"{"DetailSet":"[]"}"#.to_owned(), "DetailSet"),
        (r#"{"DetailSet":[[{}]]}"#.to_owned(), "DetailSet"),
        (r#"{"DetailSet":[null]}"#.to_owned(), "DetailSet"),
        (r#"{"WeChatBillDetails":["{}"]}"#.to_owned(), "WeChatBillDetails"),
    ] {
        assert_eq!(said(&more), invalid(path), "{more}");
    }
    let error = r#"{"Response":{"Error":"AuthFailure","RequestId":"r"}}"#;
    assert_eq!(said(error), (2, vec![("Response.Error".into(), "response_error")]));
    let next = r#"{"WeChatBillDetails":[],"HasNextPage":"maybe"}"#;
    assert_eq!(said(next), (2, vec![("HasNextPage".into(), "flag_invalid")]));
    // A token whose attempts are missing, or are no objects.
    for token in [r#"{"BizToken":"t"}"#, r#"{"ChargeDetails":[1]}"#, r#"{"ChargeDetails":"[]"}"#] {
        let more = format!(r#"{{"WeChatBillDetails":[{token}]}}"#);
        assert_eq!(said(&more), (2, vec![("ChargeDetails".into(), "attempts_missing")]), "{token}");
    }
    // One that was never charged has none.
    let none = r#"{"WeChatBillDetails":[{"BizToken":"t","ChargeCount":0}]}"#;
    assert_eq!(said(none), (2, vec![]));
}

#[test]
fn a_last_page_is_told_by_texts_too() {
    let page = |next: &str| {
        format!(
            r#"{{"HasNextPage":{next},"WeChatBillDetails":[{{"ChargeDetails":[
               {{"Seq":"s","ReqTime":"1638720000000","IsNeedCharge":true}}]}}]}}"#
        )
    };
    let goes_on = |next: &str| {
        let (content, _) =
            read("w.json", page(next).as_bytes(), &Wording::default()).expect("a page");
        let [(_, pages)] = Vec::from_iter(content.list_pages)[..] else { panic!("one day") };
        assert_eq!(pages.goes_on + pages.ends, 1);
        pages.goes_on == 1
    };
    for (next, expected) in
        [("true", true), ("\"true\"", true), ("\"False\"", false), ("null", false)]
    {
        assert_eq!(goes_on(next), expected, "{next}");
    }
}

#[test]
fn each_query_has_a_total_of_its_own() {
    let of = |total: &str, id: &str, month: &str| {
        let page = PAGE.replace('\n', "").replace("\"Total\":2", &format!("\"Total\":{total}"));
        let of_month = format!(r#""BillMonth":"{month}""#);
        let page = page.replace("1234567890123456789", id);
        page.replace(r#""BillMonth":"2019-06-01 00:00:00""#, &of_month)
    };
    let held = |pages: &[String]| {
        let text = pages.join("\n");
        let (content, collected) =
            read("p.json", text.as_bytes(), &Wording::default()).expect("pages");
        let held: Vec<_> = { content.pages.iter() }
            .map(|held| (held.total, held.ids.len(), held.month.map(|month| month.to_string())))
            .collect();
        (held, collected.rejects.iter().map(|r| r.reason).collect::<Vec<_>>())
    };
    let june = Some("2019-06".to_owned());
    let july = Some("2019-07".to_owned());
    for total in ["200", "\"200\"", "200.0", "2e2", "\"200.00\""] {
        let (held, rejects) = held(&[of(total, "1", "2019-06")]);
        assert_eq!((held, rejects), (vec![(Some(200), 1, june.clone())], vec![]), "{total}");
    }
    for total in ["\"all\"", "-1", "1.5", "99999999999999999999", "[2]", "true"] {
        let (held, rejects) = held(&[of(total, "1", "2019-06")]);
        assert_eq!(
            (held, rejects),
            (vec![(None, 1, june.clone())], vec!["total_invalid"]),
            "{total}"
        );
    }
    let pages = [of("3", "1", "2019-06"), of("3", "2", "2019-06"), of("2", "3", "2019-07")];
    assert_eq!(held(&pages).0, [(Some(3), 2, june), (Some(2), 1, july)]);
}

/// A member that stands twice, under whatever of its names, in the line or in the line and its component.
#[test]
fn a_member_that_says_two_things_is_told() {
    let flat = PAGE.replace('\n', "");
    let reasons = |text: &str| {
        let (_, collected) = read("p.json", text.as_bytes(), &Wording::default()).expect("a page");
        collected.rejects.iter().map(|r| r.reason).collect::<Vec<_>>()
    };
    let cost = r#""RealCost":2.00000001"#;
    for (more, reason) in [
        (r#""RealCost":500,"RealCost":2.00000001"#, "member_twice"),
        (r#""realcost":500,"RealCost":2.00000001"#, "member_twice"),
        (r#""RealCost":{"Value":2}"#, "value_invalid"),
        (r#""RealCost":true"#, "value_invalid"),
        (r#""PayerUin":"100000000001","RealCost":2.00000001"#, "member_twice"),
        (r#""Total Amount After Discount":500,"RealCost":2.00000001"#, "member_twice"),
    ] {
        assert_eq!(reasons(&flat.replacen(cost, more, 1)), [reason], "{more}");
    }
    let same = r#""RealCost":2.00000001,"realcost":2.00000001,"RealCost":null"#;
    assert_eq!(reasons(&flat.replacen(cost, same, 1)), Vec::<&str>::new());
    // Of ours and of another product: neither.
    let product = r#""BusinessCodeName":"人脸核身-云智慧眼""#;
    let two = flat.replacen(product, &format!("{product},\"BusinessCodeName\":\"对象存储\""), 1);
    assert_eq!(reasons(&two), ["member_twice", "member_twice"]);
    // Another name of a name may be in another language: the first of the list counts.
    let other = flat.replacen(product, &format!("{product},\"ProductName\":\"人脸核身\""), 1);
    assert_eq!(reasons(&other), Vec::<&str>::new());
    let attempt = r#"{"WeChatBillDetails":[{"ChargeDetails":[
        {"Seq":"s","ReqTime":"1638720000000","IsNeedCharge":true,"IsNeedCharge":false}]}]}"#;
    assert_eq!(reasons(attempt), ["member_twice"]);
}

#[test]
fn a_line_of_totals_is_held_against_the_lines() {
    let two = [row(&[]), row(&[("产品名称", "对象存储"), ("优惠后总价", "1.5")])];
    let said = |first: &str, cost: &str, at: usize| {
        let totals = format!("{first},,,,,,,,,,,{cost}");
        let mut rows = two.to_vec();
        rows.insert(at, totals);
        let (content, collected) = read_text(&csv(&rows));
        let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
        (content.totals, content.file.rows, rejects)
    };
    // 3.00000001 + 1.5, to the fen; at the end or at the top.
    assert_eq!(said("合计", "4.50000001", 2), (1, 3, vec![]));
    assert_eq!(said("合计（2 条记录）", "4.50", 0), (1, 3, vec![]));
    assert_eq!(said("Total: 2 rows", "4.50元", 0), (1, 3, vec![]));
    assert_eq!(said("合计：4.5 元", "", 2), (1, 3, vec![]));
    assert_eq!(said("合计：99.99 元", "", 2), (0, 3, vec![(4, "totals_disagree")]));
    assert_eq!(said("合计", "99.99元", 2), (0, 3, vec![(4, "totals_disagree")]));
    assert_eq!(said("合计", "?", 2), (0, 3, vec![(4, "totals_disagree")]));
    assert_eq!(said("Total:", "\"4.5\"", 2), (1, 3, vec![]));
    assert_eq!(said("合计", "", 2), (1, 3, vec![]));
    assert_eq!(said("合计", "504.5", 2), (0, 3, vec![(4, "totals_disagree")]));
    // Of some of them.
    assert_eq!(said("小计", "1.5", 2), (1, 3, vec![]));
    // A name that begins so is none.
    for name in ["合计事业部", "Total Ads", "小计组"] {
        assert_eq!(said(name, "500", 2), (0, 3, vec![(4, "account_invalid")]), "{name}");
    }
    // The name of a year is no part of a bill; that of a part may add up the others, too.
    for (name, rejects) in [("bill_2024.csv", 1), ("bill_2.csv", 0)] {
        let text = format!("{}合计,,,,,,,,,,,9\n", csv(&two));
        let (_, collected) = read(name, text.as_bytes(), &Wording::default()).expect("a bill");
        assert_eq!(collected.rejects.len(), rejects, "{name}");
    }
    // A line that has a payer and a product adds up no others, without a time, too.
    let header = format!("项目名称,{HEADER}");
    let none = row(&[("扣费时间", "-"), ("开始使用时间", "-"), ("结束使用时间", "-")]);
    let text = format!("{header}\nx,{}\n合计,{none}\n", row(&[]));
    let (content, collected) = read_text(&text);
    assert_eq!((content.totals, content.file.rows), (0, 2));
    assert_eq!(collected.lines.len() + collected.rejects.len(), 2);
}

#[test]
fn the_provider_s_own_list_is_read_without_its_names() {
    let page = r#"{"Response":{"HasNextPage":true,"NextCursor":1873,"WeChatBillDetails":[{"ChargeCount":1,"ChargeDetails":[
      {"ReqTime":"1638720000000","Seq":"seq-1","IdCard":"1101**********0011","Name":"张*","Sim":"99.00","IsNeedCharge":true,
       "ChargeType":"核身","ErrorCode":"0","ErrorMessage":"成功"},
      {"ReqTime":1638720000001,"Seq":"seq-2","Idcard":"x","IsNeedCharge":false,"ChargeType":"比对","ErrorCode":-1},
      {"ReqTime":"1638720000","Seq":"seq-3","IsNeedCharge":false},
      {"ReqTime":"1638720000000","Seq":"seq-4","IsNeedCharge":"true"},
      {"ReqTime":"1638720000000","Seq":"-","IsNeedCharge":true},
      {"ReqTime":"1638720000000","Seq":"seq-6","IsNeedCharge":true,"ErrorCode":"Failed"},
      {"ReqTime":"1638720000000","Seq":"seq-7","IsNeedCharge":true,"ErrorCode":""}
    ],"BizToken":"token","RuleId":"1"}],"RequestId":"r"}}"#;
    let (content, collected) =
        read("w.json", page.as_bytes(), &Wording::default()).expect("a page");
    assert_eq!(
        (content.file.kind.as_str(), content.file.rows, content.attempts),
        ("wechat_json", 7, 3)
    );
    assert_eq!(
        collected.attempts[0],
        ProviderAttempt {
            seq: "seq-1".into(),
            req_time: 1_638_720_000_000,
            is_need_charge: true,
            biz_token: Some("token".into()),
            rule_id: Some("1".into()),
            charge_type: Some("核身".into()),
            errcode: Some(0),
            source_file: "w.json".into(),
            source_row: 0,
        }
    );
    assert_eq!((collected.attempts[1].errcode, collected.attempts[2].errcode), (Some(-1), None));
    let rejects: Vec<_> = collected.rejects.iter().map(|r| (r.row, r.reason)).collect();
    assert_eq!(
        rejects,
        [(2, "time_invalid"), (3, "flag_invalid"), (4, "seq_missing"), (5, "code_invalid")]
    );
    let all = format!("{content:?} {collected:?}");
    assert!(!all.contains('张') && !all.contains("1101*"), "{all}");
    let day = UsageDay::parse("2021-12-06");
    assert_eq!(Vec::from_iter(content.list_pages), [(day, ListPages { goes_on: 1, ends: 0 })]);
}

#[test]
fn names_of_deliveries_tell_what_they_hold() {
    let daily =
        delivery("bills/100010445724-20241208-by_used_time-bill_details.zip").expect("daily");
    assert_eq!(
        (daily.uin.as_str(), daily.period, daily.pack),
        ("100010445724", Period::Used, false)
    );
    assert_eq!(daily.date, DeliveryDate::Day(UsageDay::parse("2024-12-08").expect("a day")));
    let month = |name: &str| delivery(name).map(|d| d.month().to_string());
    // The file of the 1st holds the month before.
    assert_eq!(month("1-20241201-bill_details.zip").as_deref(), Some("2024-11"));
    assert_eq!(month("1-20241202-by_pay_time-bill_details.zip").as_deref(), Some("2024-12"));
    assert_eq!(month("1-202411-by_used_time-bill_pack.zip").as_deref(), Some("2024-11"));
    // What a browser calls a second download, and a part of a long bill.
    let named = |name: &str| delivery(name).map(|d| (d.month().to_string(), d.part));
    let december = |part| Some(("2024-12".to_owned(), part));
    assert_eq!(named("1-20241208-by_used_time-bill_details (1).zip"), december(None));
    assert_eq!(named("1-20241208-by_used_time-bill_details(12).zip"), december(None));
    assert_eq!(named("1-20241208-by_used_time-bill_details_2.csv"), december(Some(2)));
    // A day or a time behind the name is no part: it would ask for as many as its number says.
    assert_eq!(named("1-20241208-by_used_time-bill_details_1735689600.csv"), None);
    assert_eq!(named("1-20241208-by_used_time-bill_details_2 (1).csv"), december(Some(2)));
    for name in [
        "bill.zip",
        "1-2024-bill_details.zip",
        "1-20241301-bill_details.zip",
        "x-202411-bill_details.zip",
        "1-202411-other.zip",
    ] {
        assert_eq!(delivery(name), None, "{name}");
    }
}

#[test]
fn a_later_file_of_a_month_replaces_the_earlier_ones() {
    let names = [
        "1-20241102-by_used_time-bill_details.zip",
        "1-20241105-by_used_time-bill_details.zip",
        "1-20241104-bill_details.zip",
        "2-20241103-by_used_time-bill_details.zip",
        "1-20241201-by_used_time-bill_details.zip",
        "1-202411-by_used_time-bill_details.zip",
        "1-20241105-by_pay_time-bill_details.zip",
        "my own.csv",
    ];
    let at = |day: &str| standings(&names, UsageDay::parse(day).expect("a day"));
    let by = |n: usize| Standing::ReplacedBy(names[n].to_owned());
    let (counts, not_yet) = (Standing::Counts, Standing::NotYet);
    let c = || counts.clone();
    let n = || not_yet.clone();
    assert_eq!(at("2024-11-02"), [c(), n(), n(), n(), n(), n(), n(), c()]);
    assert_eq!(at("2024-11-05"), [by(1), c(), by(1), c(), n(), n(), c(), c()]);
    assert_eq!(at("2024-12-01"), [by(4), by(4), by(4), c(), c(), n(), c(), c()]);
    assert_eq!(at("2024-12-02"), [by(5), by(5), by(5), c(), by(5), c(), c(), c()]);
}

/// All parts of the last delivery count, each once, and none of an earlier one.
#[test]
fn the_parts_of_a_delivery_are_one_file() {
    let names = [
        "1-20241208-by_used_time-bill_details_1.csv",
        "1-20241208-by_used_time-bill_details_2.csv",
        "1-20241209-by_used_time-bill_details_1.csv",
        "1-20241209-by_used_time-bill_details_2.csv",
        "1-20241209-by_used_time-bill_details_3.csv",
    ];
    let told = standings(&names, UsageDay::parse("2025-01-01").expect("a day"));
    let counts: Vec<bool> = told.iter().map(|told| *told == Standing::Counts).collect();
    assert_eq!(counts, [false, false, true, true, true]);
    // Of several downloads of one file the last counts, by the number that a browser gave it; of a detail bill and the pack
    // that holds it, too, the detail bill. The others must say the same.
    let at = |names: &[&str]| standings(names, UsageDay::parse("2025-01-01").expect("a day"));
    let held = |places: &[usize], is_part| Standing::SameAs { counting: places.to_vec(), is_part };
    let same = |places: &[usize]| held(places, false);
    let told = at(&[
        "1-20241208-by_used_time-bill_details.zip",
        "1-20241208-by_used_time-bill_details (10).zip",
        "1-20241208-by_used_time-bill_details (9).zip",
        "1-20241208-bill_pack.zip",
        "1-20241207-by_used_time-bill_pack (3).zip",
    ]);
    let replaced = Standing::ReplacedBy("1-20241208-by_used_time-bill_details (10).zip".into());
    assert_eq!(told, [same(&[1]), Standing::Counts, same(&[1]), same(&[1]), replaced]);
    let told = at(&[
        "1-20241208-by_used_time-bill_details_1.csv",
        "1-20241208-by_used_time-bill_details_2.csv",
        "1-20241208-by_used_time-bill_details_1 (1).csv",
        "1-20241208-by_used_time-bill_pack.zip",
    ]);
    assert_eq!(told, [same(&[2]), Standing::Counts, Standing::Counts, same(&[2, 1])]);
    let told = at(&[
        "1-20241208-by_used_time-bill_details_1.csv",
        "1-20241208-by_used_time-bill_details.zip",
    ]);
    assert_eq!(told, [held(&[1], true), Standing::Counts]);
}

/// A line that has a time adds up no others, whatever its first cell is called.
#[test]
fn what_is_called_total_is_a_line_where_it_has_a_time() {
    let text = csv(&[row(&[("支付者 UIN", "100001234567")])]);
    let (header, line) = text.split_once('\n').expect("a header and a line");
    let named = format!("实例名称,{header}\nTotal-app,{line}");
    let (content, collected) =
        read("b.csv", named.as_bytes(), &Wording::default()).expect("a bill");
    assert_eq!((content.totals, collected.lines.len()), (0, 1));
    let commas = ",".repeat(header.matches(',').count() + 1);
    let total = format!("{named}\n合计{commas}\n");
    let (content, collected) =
        read("b.csv", total.as_bytes(), &Wording::default()).expect("a bill");
    assert_eq!((content.totals, collected.lines.len()), (1, 1));
}

/// The end of a usage is inclusive; a midnight behind its beginning is the first moment of the next day.
#[test]
fn a_usage_that_ends_at_midnight_ends_the_day_before() {
    let days = |from: &str, to: &str| {
        let line = one(&[("开始使用时间", from), ("结束使用时间", to)]);
        [line.usage_from, line.usage_to]
            .map(|day| day.map(|day| day.to_string()).unwrap_or_default())
    };
    let first = "2024-11-01 00:00:00";
    for (to, day) in [
        ("2024-11-01 23:59:59", "2024-11-01"),
        ("2024-11-02 00:00:00", "2024-11-01"),
        ("2024/11/2 0:00", "2024-11-01"),
        ("2024-11-01 00:00:00", "2024-11-01"),
        // A day alone is that day.
        ("2024-11-02", "2024-11-02"),
        ("2024-11-02 00:00:01", "2024-11-02"),
    ] {
        assert_eq!(days(first, to), ["2024-11-01", day], "{to}");
    }
}

#[test]
fn a_month_s_lines_take_it_from_the_name_where_the_bill_names_none() {
    // Settled by deduction: the line of 31 October stands in November's bill.
    let text = csv(&[row(&[
        ("开始使用时间", "2024-10-31 00:00:00"),
        ("结束使用时间", "2024-10-31 23:59:59"),
    ])]);
    let month = |name: &str| {
        read(name, text.as_bytes(), &Wording::default()).expect("a bill").1.lines[0].bill_month
    };
    assert_eq!(month("1-202411-by_pay_time-bill_details.csv"), UsageMonth::parse("2024-11"));
    assert_eq!(month("bill.csv"), UsageMonth::parse("2024-10"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_of_a_bill_gives_the_same_lines(
        costs in proptest::collection::vec(-1_000_000i64..1_000_000, 1..40),
        cuts in proptest::collection::vec(0usize..40, 0..5),
    ) {
        let rows: Vec<String> = costs.iter().map(|c| row(&[("优惠后总价", &format!("{c}.5"))])).collect();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(rows.len())).collect();
        cuts.extend([0, rows.len()]);
        cuts.sort_unstable();
        let parts: Vec<(String, String)> = cuts
            .windows(2)
            .enumerate()
            .map(|(n, w)| (format!("bill_{n:02}.csv"), csv(&rows[w[0]..w[1]])))
            .collect();
        let members: Vec<(&str, &[u8])> =
            parts.iter().map(|(n, t)| (n.as_str(), t.as_bytes())).collect();
        let (content, split) = read("bill.zip", &zipped(&members), &Wording::default()).expect("a bill");
        let (_, whole) = read_text(&csv(&rows));
        prop_assert_eq!(content.file.rows, rows.len() as i64);
        prop_assert_eq!(placeless(split), placeless(whole));
    }

    #[test]
    fn no_bytes_make_it_panic(noise in proptest::collection::vec(any::<u8>(), 0..300), kind in 0usize..6) {
        let head: Vec<u8> = match kind {
            0 => Vec::new(),
            1 => csv(&[row(&[])]).into_bytes(),
            2 => PAGE.as_bytes()[..PAGE.len() / 2].to_vec(),
            3 => b"{\"WeChatBillDetails\":[".to_vec(),
            4 => b"PK\x03\x04".to_vec(),
            _ => data("l3_gb18030.csv"),
        };
        let _ = read("noise", &[head, noise].concat(), &Wording::default());
    }

    #[test]
    fn a_damaged_file_does_not_make_it_panic(at in 0usize..100_000, with in any::<u8>()) {
        for name in ["100001234567-202411-by_used_time-bill_details.zip", "l3_gb18030.csv", "l3_utf8.csv"] {
            let mut bytes = data(name);
            let at = at % bytes.len();
            bytes[at] = with;
            if let Ok((content, collected)) = read(name, &bytes, &Wording::default()) {
                let file = &content.file;
                let members = collected.rejects.iter().filter(|r| r.reason == "member_unread").count() as i64;
                let rejects = file.rejects - members;
                prop_assert_eq!(file.rows, file.lines + file.lines_other_products + content.totals + rejects);
                prop_assert_eq!(collected.lines.len() as i64, file.lines);
            }
        }
    }
}

#[test]
fn lines_of_a_long_bill_stand_in_its_order() {
    let rows: Vec<String> = (0..40_000).map(|n| row(&[("组件用量", &n.to_string())])).collect();
    let (content, collected) = read_text(&csv(&rows));
    assert_eq!((content.file.rows, content.file.lines), (40_000, 40_000));
    let rows: Vec<i64> = collected.lines.iter().map(|line| line.source_row).collect();
    assert_eq!(rows, (2..40_002).collect::<Vec<i64>>());
    assert_eq!(collected.lines[39_999].usage_billed, amount("39999"));
}
