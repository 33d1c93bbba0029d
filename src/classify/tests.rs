//! The tables below were typed by hand from the billing overview (page 1007/56803), not made from
//! the catalogue's file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::*;
use crate::model::{CompareSource, Record, Settlement, UsageDay};

const A: Option<CompareSource> = Some(CompareSource::Authority);
const P: Option<CompareSource> = Some(CompareSource::UploadedPhoto);

/// Section, first cell, compare source, tag as printed, our code of the tag; channel's code,
/// Action.
type Row = (
    &'static str,
    &'static str,
    Option<CompareSource>,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
);

#[rustfmt::skip]
const OVERVIEW: &[Row] = &[
    ("增强版人脸核身", "微信原生 H5", A, "增强版人脸核身（权威库）-微信", "enhanced_authority_wechat", Some("wechat_h5_native"), None),
    ("增强版人脸核身", "微信小程序", A, "增强版人脸核身（权威库）-微信", "enhanced_authority_wechat", Some("wechat_mini_program"), None),
    ("增强版人脸核身", "微信原生 H5", P, "增强版人脸核身（自传照片）-微信", "enhanced_photo_wechat", Some("wechat_h5_native"), None),
    ("增强版人脸核身", "微信小程序", P, "增强版人脸核身（自传照片）-微信", "enhanced_photo_wechat", Some("wechat_mini_program"), None),
    ("增强版人脸核身", "增强版 SDK（APP）", A, "增强版人脸核身（权威库）-App", "enhanced_authority_app", Some("app_sdk"), None),
    ("增强版人脸核身", "增强版 SDK（APP）", P, "增强版人脸核身（自传照片）-App", "enhanced_photo_app", Some("app_sdk"), None),
    ("增强版人脸核身", "微信浮层 H5", A, "增强版人脸核身（权威库）-浮层 H5", "enhanced_authority_h5", Some("overlay_h5_wechat"), None),
    ("增强版人脸核身", "移动浮层 H5", A, "增强版人脸核身（权威库）-浮层 H5", "enhanced_authority_h5", Some("overlay_h5_mobile"), None),
    ("增强版人脸核身", "微信浮层 H5", P, "增强版人脸核身（自传照片）-浮层 H5", "enhanced_photo_h5", Some("overlay_h5_wechat"), None),
    ("增强版人脸核身", "移动浮层 H5", P, "增强版人脸核身（自传照片）-浮层 H5", "enhanced_photo_h5", Some("overlay_h5_mobile"), None),
    ("基础版人脸核身", "微信普通 H5", A, "基础版人脸核身（权威库）", "basic_authority", Some("wechat_h5"), None),
    ("基础版人脸核身", "PC H5", A, "基础版人脸核身（权威库）", "basic_authority", Some("pc_h5"), None),
    ("基础版人脸核身", "基础版 SDK（APP）", A, "基础版人脸核身（权威库）", "basic_authority", Some("app_sdk"), None),
    ("基础版人脸核身", "微信普通 H5", P, "基础版人脸核身（自传照片）", "basic_photo", Some("wechat_h5"), None),
    ("基础版人脸核身", "PC H5", P, "基础版人脸核身（自传照片）", "basic_photo", Some("pc_h5"), None),
    ("基础版人脸核身", "基础版 SDK（APP）", P, "基础版人脸核身（自传照片）", "basic_photo", Some("app_sdk"), None),
    ("基础版人脸核身", "活体人脸核身 API", A, "基础版人脸核身（权威库）", "basic_authority", Some("LivenessRecognition"), Some("LivenessRecognition")),
    ("基础版人脸核身", "照片人脸核身 API", A, "基础版人脸核身（权威库）", "basic_authority", Some("ImageRecognition"), Some("ImageRecognition")),
    ("基础版人脸核身", "活体人脸比对 API", P, "基础版人脸核身（自传照片）", "basic_photo", Some("LivenessCompare"), Some("LivenessCompare")),
    ("基础版人脸核身", "身份证人像照片验真 API", A, "基础版人脸核身（权威库）", "basic_authority", Some("CheckIdCardInformation"), Some("CheckIdCardInformation")),
    ("实名信息核验", "身份信息认证", None, "身份证信息核验", "id_card_check", Some("IdCardVerification"), Some("IdCardVerification")),
    ("实名信息核验", "身份证识别及信息核验", None, "身份证信息核验", "id_card_check", Some("IdCardOCRVerification"), Some("IdCardOCRVerification")),
    ("实名信息核验", "银行卡二要素", None, "银行卡信息核验", "bank_card_check", Some("BankCard2EVerification"), Some("BankCard2EVerification")),
    ("实名信息核验", "银行卡三要素", None, "银行卡信息核验", "bank_card_check", Some("BankCardVerification"), Some("BankCardVerification")),
    ("实名信息核验", "银行卡四要素", None, "银行卡信息核验", "bank_card_check", Some("BankCard4EVerification"), Some("BankCard4EVerification")),
    ("实名信息核验", "手机号在网时长核验", None, "手机号在网时长/状态查询", "mobile_tenure_status", Some("MobileNetworkTimeVerification"), Some("MobileNetworkTimeVerification")),
    ("实名信息核验", "手机号状态查询", None, "手机号在网时长/状态查询", "mobile_tenure_status", Some("MobileStatus"), Some("MobileStatus")),
    ("实名信息核验", "银行卡基础信息查询", None, "银行卡基础信息查询", "bank_card_info", Some("CheckBankCardInformation"), Some("CheckBankCardInformation")),
    ("实名信息核验", "身份信息及有效期核验", None, "身份信息及有效期核验", "id_validity_check", Some("CheckIdNameDate"), Some("CheckIdNameDate")),
    ("实名信息核验", "手机号二要素核验", None, "手机号信息核验（二要素）", "mobile_check_2e", Some("CheckPhoneAndName"), Some("CheckPhoneAndName")),
    ("实名信息核验", "手机号三要素核验", None, " 手机号信息核验（三要素）", "mobile_check_3e", Some("PhoneVerification"), Some("PhoneVerification")),
    ("E证通", "E证通", A, "E证通（权威库）", "eid_authority", None, None),
    ("意愿核身", "意愿核身（权威库）", A, "意愿核身（权威库）", "intention_authority", None, None),
    ("意愿核身", "意愿核身（自传照片）", P, "意愿核身（自传照片）", "intention_photo", None, None),
    ("实证 NFC", "实证 NFC", None, "证件 NFC 识别", "nfc_read", None, None),
];

fn captures(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn route(
    conditions: &[(&str, &[&str])],
    product: &str,
    channel: Option<&str>,
    source: Option<CompareSource>,
) -> Route {
    let conditions = conditions
        .iter()
        .map(|(field, values)| Condition {
            field: field.to_string(),
            values: values.iter().map(|v| v.to_string()).collect(),
        })
        .collect();
    Route::new(conditions, product, channel, source).unwrap()
}

fn router(routes: Vec<Route>) -> Router {
    Router::new(routes, BTreeMap::new())
}

fn with_extra(extra: &str) -> Record<'_> {
    Record { extra: Some(Cow::Borrowed(extra)), ..Record::default() }
}

/// The tag's code of an attempt against 权威库.
fn tag_of(router: &Router, captures: &[(String, String)], record: &Record<'_>) -> &'static str {
    code(router.tag(&router.route(captures, record), Some("权威库")))
}

fn code(tagged: Tagged) -> &'static str {
    Catalogue::get().tag(tagged.tag).code
}

#[test]
fn every_row_of_the_overview_is_in_the_catalogue_and_nothing_else() {
    let catalogue = Catalogue::get();
    assert_eq!(catalogue.rows().len(), OVERVIEW.len());
    for (row, want) in catalogue.rows().iter().zip(OVERVIEW) {
        let (section, cell, source, label, code, channel, api) = *want;
        let tag = catalogue.tag(row.tag);
        assert_eq!(
            (
                row.product_label,
                row.channel_label,
                row.compare_source,
                tag.label,
                tag.code,
                row.channel,
                row.api
            ),
            (section, cell, source, label.trim(), code, channel, api)
        );
        assert_eq!(catalogue.tag_by_label(label), Some(row.tag), "as printed: {label}");
    }
}

#[test]
fn tags_stand_in_the_overviews_order_and_unmapped_is_last() {
    let codes: Vec<&str> = Catalogue::get().tags().iter().map(|tag| tag.code).collect();
    let want = "enhanced_authority_wechat enhanced_photo_wechat enhanced_authority_app enhanced_photo_app \
         enhanced_authority_h5 enhanced_photo_h5 basic_authority basic_photo id_card_check bank_card_check \
         mobile_tenure_status bank_card_info id_validity_check mobile_check_2e mobile_check_3e eid_authority \
         intention_authority intention_photo nfc_read unmapped";
    assert_eq!(codes, want.split_whitespace().collect::<Vec<_>>());
    assert_eq!(Catalogue::get().tag(TagId::UNMAPPED).label, "unmapped");
    let monthly: Vec<&str> =
        Catalogue::get().tags().iter().filter(|tag| tag.monthly).map(|tag| tag.code).collect();
    assert_eq!(monthly, ["nfc_read"]);
    assert_eq!(Catalogue::get().tag_by_code("eid_authority").map(TagId::index), Some(15));
    assert_eq!(Catalogue::get().tag_by_code("EID_AUTHORITY"), None);
}

#[test]
fn labels_are_found_in_the_spellings_of_other_pages() {
    for (label, want) in [
        ("增强版人脸核身（权威库）-APP", "enhanced_authority_app"),
        ("增强版人脸核身(权威库)-app", "enhanced_authority_app"),
        ("增强版人脸核身（自传照片）- App", "enhanced_photo_app"),
        ("增强版人脸核身（权威库）- 微信", "enhanced_authority_wechat"),
        ("增强版人脸核身(自传照片)-微信", "enhanced_photo_wechat"),
        ("增强版人脸核身（权威库）-浮层H5", "enhanced_authority_h5"),
        ("增强版人脸核身（自传照片）-浮层\u{a0}h5", "enhanced_photo_h5"),
        ("基础版人脸核身(权威库)", "basic_authority"),
        ("基础版人脸核身（自传照片)", "basic_photo"),
        ("身份信息核验", "id_card_check"),
        ("身份证信息核验", "id_card_check"),
        ("手机号信息核验(三要素)", "mobile_check_3e"),
        (" 手机号信息核验（三要素）", "mobile_check_3e"),
        ("手机号信息核验 (二要素)", "mobile_check_2e"),
        ("手机号在网时长／状态查询", "mobile_tenure_status"),
        ("E 证通（权威库）", "eid_authority"),
        ("\u{3000}意愿核身（权威库）", "intention_authority"),
        ("证件NFC识别", "nfc_read"),
    ] {
        let found = Catalogue::get().tag_by_label(label).map(|id| Catalogue::get().tag(id).code);
        assert_eq!(found, Some(want), "{label}");
    }
    // Tags of their own, with prices of their own: no guess.
    for label in ["手机号信息核验(三要素)-移动", "手机号信息核验", "活体人脸核身", "E证通", ""]
    {
        assert_eq!(Catalogue::get().tag_by_label(label), None, "{label}");
    }
}

#[test]
fn every_sourced_row_is_reached_by_a_route() {
    let mut reached = 0;
    for (_, cell, source, _, want, channel, _) in OVERVIEW.iter().filter(|row| row.2.is_some()) {
        let row = Catalogue::get().rows().iter().find(|row| row.channel_label == *cell).unwrap();
        let router = router(vec![route(&[], row.product, *channel, None)]);
        let lib = if *source == A { "权威库" } else { "业务方自有库" };
        let tagged = router.tag(&router.route(&[], &Record::default()), Some(lib));
        assert_eq!(code(tagged), *want, "{cell}");
        assert_eq!(
            (tagged.product, tagged.channel, tagged.compare_source, tagged.why_unmapped),
            (Some(row.product), *channel, *source, None)
        );
        reached += 1;
    }
    assert_eq!(reached, 23);
}

#[test]
fn a_route_must_name_what_the_catalogue_has() {
    let new = |product, channel| Route::new(Vec::new(), product, channel, None).map(|_| ());
    let channels_of_enhanced = vec![
        "wechat_h5_native",
        "wechat_mini_program",
        "app_sdk",
        "overlay_h5_wechat",
        "overlay_h5_mobile",
    ];
    assert_eq!(
        new("Enhanced", None),
        Err(RouteError::UnknownProduct {
            known: vec!["enhanced", "basic", "identity_check", "eid", "intention", "nfc"]
        })
    );
    assert_eq!(
        new("enhanced", Some("pc_h5")),
        Err(RouteError::UnknownChannel { known: channels_of_enhanced.clone() })
    );
    assert_eq!(
        new("enhanced", None),
        Err(RouteError::ChannelMissing { known: channels_of_enhanced })
    );
    assert!(
        matches!(new("identity_check", None), Err(RouteError::ChannelMissing { known }) if known.len() == 11)
    );
    assert!(
        matches!(new("basic", None), Err(RouteError::ChannelMissing { known }) if known.len() == 7)
    );
    for product in ["eid", "intention", "nfc"] {
        assert_eq!(new(product, Some("app_sdk")), Err(RouteError::ChannelNotTaken));
        assert_eq!(new(product, None), Ok(()));
    }
    assert_eq!(new("identity_check", Some("MobileStatus")), Ok(()));
}

#[test]
fn the_first_route_that_matches_wins() {
    let narrow = || route(&[("channel", &["wx"]), ("app", &["2"])], "eid", None, None);
    let wide = || route(&[("channel", &["wx"])], "basic", Some("pc_h5"), None);
    let all = || route(&[], "enhanced", Some("app_sdk"), None);
    let both = captures(&[("channel", "wx"), ("app", "2")]);
    let one = captures(&[("channel", "wx"), ("app", "1")]);
    let none = captures(&[("app", "2")]);
    let record = Record::default();
    let ordered = router(vec![narrow(), wide(), all()]);
    assert_eq!(tag_of(&ordered, &both, &record), "eid_authority");
    assert_eq!(tag_of(&ordered, &one, &record), "basic_authority");
    assert_eq!(tag_of(&ordered, &none, &record), "enhanced_authority_app");
    assert_eq!(ordered.route(&one, &record).route, Some(1));
    let turned = router(vec![wide(), narrow(), all()]);
    assert_eq!(tag_of(&turned, &both, &record), "basic_authority");
    assert_eq!(tag_of(&router(vec![narrow(), wide()]), &none, &record), "unmapped");
}

#[test]
fn values_match_exactly_and_lists_match_any() {
    let router = router(vec![
        route(&[("rule_id", &["7", "5", "10"])], "eid", None, None),
        route(&[("extra", &["wx_mini", ""])], "basic", Some("pc_h5"), None),
        route(&[("nothing", &[])], "basic", Some("pc_h5"), None),
    ]);
    for rule in ["5", "7", "10"] {
        assert_eq!(
            tag_of(&router, &captures(&[("rule_id", rule)]), &Record::default()),
            "eid_authority"
        );
    }
    for rule in ["6", "5 ", "", "70", "1"] {
        assert_eq!(
            tag_of(&router, &captures(&[("rule_id", rule)]), &Record::default()),
            "unmapped"
        );
    }
    assert_eq!(tag_of(&router, &[], &with_extra("wx_mini")), "basic_authority");
    assert_eq!(tag_of(&router, &[], &with_extra("")), "basic_authority");
    assert_eq!(tag_of(&router, &[], &with_extra("WX_mini")), "unmapped");
    assert_eq!(tag_of(&router, &[], &Record::default()), "unmapped");
    // A capture is never taken for Text.Extra, and an empty list matches nothing.
    assert_eq!(
        tag_of(&router, &captures(&[("extra", "wx_mini"), ("nothing", "")]), &Record::default()),
        "unmapped"
    );
}

#[test]
fn an_envelope_field_wins_over_a_capture() {
    let router = router(vec![
        route(&[("channel", &["envelope"])], "eid", None, None),
        route(&[("channel", &["key"])], "basic", Some("pc_h5"), None),
        route(&[("biz_token", &["B1"]), ("rule_id", &["5"])], "enhanced", Some("app_sdk"), None),
    ]);
    let key = captures(&[("channel", "key")]);
    let mut record = Record::default();
    assert_eq!(tag_of(&router, &key, &record), "basic_authority");
    record.channel = Some("envelope".into());
    assert_eq!(tag_of(&router, &key, &record), "eid_authority");
    record.channel = Some("other".into());
    assert_eq!(tag_of(&router, &key, &record), "unmapped");
    record.biz_token = Some("B1".into());
    record.rule_id = Some("5".into());
    assert_eq!(tag_of(&router, &key, &record), "enhanced_authority_app");
}

#[test]
fn intention_wins_over_the_route_and_needs_none() {
    let router =
        router(vec![route(&[("channel", &["wx"])], "enhanced", Some("wechat_mini_program"), None)]);
    let record = Record { is_verify_intention: true, ..Record::default() };
    let routed = router.route(&captures(&[("channel", "wx")]), &record);
    let tagged = router.tag(&routed, Some("业务方自有库"));
    assert_eq!(
        (code(tagged), tagged.product, tagged.channel),
        ("intention_photo", Some("intention"), Some("wechat_mini_program"))
    );
    let routed = router.route(&[], &record);
    let tagged = router.tag(&routed, Some("商业库"));
    assert_eq!(
        (code(tagged), tagged.product, tagged.channel),
        ("intention_authority", Some("intention"), None)
    );
    let tagged = router.tag(&routed, None);
    assert_eq!(
        (code(tagged), tagged.why_unmapped),
        ("unmapped", Some(WhyUnmapped::NoCompareSource))
    );
}

#[test]
fn the_compare_library_decides_the_source() {
    let any = || vec![route(&[], "enhanced", Some("app_sdk"), None)];
    let plain = router(any());
    let source = |router: &Router, lib| {
        router.tag(&router.route(&[], &Record::default()), lib).compare_source
    };
    for lib in ["权威库", "商业库", "公安商业库"] {
        assert_eq!(source(&plain, Some(lib)), A, "{lib}");
    }
    assert_eq!(source(&plain, Some("业务方自有库")), P);
    for lib in [Some("二次验证库"), Some("人工审核库"), Some("xx"), Some(""), Some(" 权威库"), None]
    {
        let tagged = plain.tag(&plain.route(&[], &Record::default()), lib);
        assert_eq!((tagged.compare_source, code(tagged)), (None, "unmapped"), "{lib:?}");
        assert_eq!(tagged.why_unmapped, Some(WhyUnmapped::NoCompareSource));
        assert_eq!((tagged.product, tagged.channel), (Some("enhanced"), Some("app_sdk")));
    }
    // The pipeline's own come first, and may say otherwise than ours.
    let own = BTreeMap::from([
        ("二次验证库".to_owned(), CompareSource::UploadedPhoto),
        ("商业库".to_owned(), CompareSource::UploadedPhoto),
    ]);
    let with_own = Router::new(any(), own);
    assert_eq!(source(&with_own, Some("二次验证库")), P);
    assert_eq!(source(&with_own, Some("商业库")), P);
    assert_eq!(source(&with_own, Some("权威库")), A);
    // A route's source is for what the library does not say.
    let by_route = router(vec![route(&[], "enhanced", Some("app_sdk"), P)]);
    assert_eq!(source(&by_route, None), P);
    assert_eq!(source(&by_route, Some("人工审核库")), P);
    assert_eq!(source(&by_route, Some("权威库")), A);
}

#[test]
fn what_the_catalogue_does_not_sell_stays_unmapped() {
    for (product, channel, lib) in [
        ("basic", Some("LivenessCompare"), Some("权威库")),
        ("basic", Some("LivenessRecognition"), Some("业务方自有库")),
        ("eid", None, Some("业务方自有库")),
        ("nfc", None, Some("权威库")),
        ("nfc", None, None),
        ("identity_check", Some("MobileStatus"), Some("权威库")),
    ] {
        let router = router(vec![route(&[], product, channel, None)]);
        let tagged = router.tag(&router.route(&[], &Record::default()), lib);
        assert_eq!(
            (tagged.tag, tagged.why_unmapped, tagged.product, tagged.channel),
            (TagId::UNMAPPED, Some(WhyUnmapped::NoSuchRow), Some(product), channel)
        );
    }
    let router = router(Vec::new());
    let tagged = router.tag(&router.route(&[], &Record::default()), Some("权威库"));
    assert_eq!(
        tagged,
        Tagged {
            tag: TagId::UNMAPPED,
            product: None,
            channel: None,
            compare_source: A,
            why_unmapped: Some(WhyUnmapped::NoRoute)
        }
    );
}

#[test]
fn settlement_follows_the_account_but_nfc_is_monthly() {
    let catalogue = Catalogue::get();
    let face = catalogue.tag(catalogue.tag_by_code("enhanced_authority_app").unwrap());
    let nfc = catalogue.tag(catalogue.tag_by_code("nfc_read").unwrap());
    for (day, daily, monthly) in [
        ("2024-02-28", "2024-02-29", "2024-03-01"),
        ("2024-02-29", "2024-03-01", "2024-03-01"),
        ("2023-02-28", "2023-03-01", "2023-03-01"),
        ("2023-12-31", "2024-01-01", "2024-01-01"),
        ("2024-01-01", "2024-01-02", "2024-02-01"),
        ("2024-01-31", "2024-02-01", "2024-02-01"),
        ("2023-01-04", "2023-01-05", "2023-02-01"),
        ("2024-04-30", "2024-05-01", "2024-05-01"),
        ("2024-12-01", "2024-12-02", "2025-01-01"),
    ] {
        let date =
            |account, tag| settlement_date(account, tag, UsageDay::parse(day).unwrap()).to_string();
        assert_eq!(date(Settlement::Daily, face), daily, "{day}");
        assert_eq!(date(Settlement::Monthly, face), monthly, "{day}");
        assert_eq!(date(Settlement::Daily, nfc), monthly, "{day}");
        assert_eq!(date(Settlement::Monthly, nfc), monthly, "{day}");
        assert_eq!(date(Settlement::Daily, catalogue.tag(TagId::UNMAPPED)), daily, "{day}");
    }
}

/// Notes one attempt as a run does.
fn note(
    counts: &mut UnmappedCounts,
    router: &Router,
    captures: &[(String, String)],
    record: &Record<'_>,
    lib: Option<&str>,
) {
    let tagged = router.tag(&router.route(captures, record), lib);
    counts.note(&tagged, captures, record, lib);
}

#[test]
fn what_has_a_tag_is_not_counted() {
    let router = router(vec![route(&[], "enhanced", Some("app_sdk"), None)]);
    let mut counts = UnmappedCounts::default();
    note(&mut counts, &router, &[], &Record::default(), Some("权威库"));
    assert!(counts.is_empty());
    assert_eq!(counts.advice(&router), []);
}

#[test]
fn an_unrouted_group_is_shown_with_the_route_to_add() {
    let router = router(vec![route(&[("channel", &["app"])], "enhanced", Some("app_sdk"), None)]);
    let mut counts = UnmappedCounts::default();
    let key = captures(&[("date", "2024-05-01"), ("channel", "wx_\"mini"), ("biz_token", "T1")]);
    note(&mut counts, &router, &key, &Record::default(), None);
    let key = captures(&[("date", "2024-05-02"), ("channel", "wx_\"mini"), ("biz_token", "T2")]);
    note(&mut counts, &router, &key, &Record::default(), Some("权威库"));
    let lines = counts.advice(&router);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].count, 2);
    assert_eq!(lines[0].what, "no route matches: channel = \"wx_\\\"mini\", extra: absent");
    assert_eq!(
        lines[0].advice,
        "add this route\n[[route]]\nmatch = { channel = \"wx_\\\"mini\" }\n\
         product = \"…\"  # enhanced, basic, eid, intention\n\
         channel = \"…\"  # where the product has channels: `faceledger tags` lists them"
    );
    let (_, toml_text) = lines[0].advice.split_once('\n').unwrap();
    let parsed: toml::Table = toml::from_str(toml_text).unwrap();
    assert_eq!(parsed["route"][0]["match"]["channel"].as_str(), Some("wx_\"mini"));
}

#[test]
fn a_route_missed_by_case_or_spaces_is_named() {
    let router = router(vec![
        route(&[("channel", &["app"])], "enhanced", Some("app_sdk"), None),
        route(
            &[("channel", &["wx_mini"]), ("rule_id", &["5"])],
            "enhanced",
            Some("wechat_mini_program"),
            None,
        ),
    ]);
    let mut counts = UnmappedCounts::default();
    note(
        &mut counts,
        &router,
        &captures(&[("channel", " WX_mini"), ("rule_id", "5")]),
        &Record::default(),
        None,
    );
    let advice = counts.advice(&router)[0].advice.clone();
    assert!(
        advice.starts_with(
            "route[1] would match but for case or spaces in channel\nadd this route\n"
        ),
        "{advice}"
    );
}

#[test]
fn extra_is_counted_and_compared_but_never_shown() {
    let router = router(vec![route(
        &[("extra", &["wx_mini"])],
        "enhanced",
        Some("wechat_mini_program"),
        None,
    )]);
    let mut counts = UnmappedCounts::default();
    for extra in ["SECRET-张三", "SECRET-13800000000", "Wx_Mini ", "Wx_Mini "] {
        note(&mut counts, &router, &[], &with_extra(extra), None);
    }
    note(&mut counts, &router, &[], &with_extra(""), None);
    let lines = counts.advice(&router);
    assert_eq!(lines.iter().map(|line| line.count).collect::<Vec<_>>(), [4, 1]);
    assert_eq!(
        lines[0].what,
        "no route matches: extra: present, 3 distinct values (not shown: it may be personal)"
    );
    assert!(
        lines[0]
            .advice
            .starts_with("route[0] would match 2 of them but for case or spaces in extra\n"),
        "{}",
        lines[0].advice
    );
    assert!(lines[0].advice.contains("match = { extra = \"…\" }"));
    assert_eq!(lines[1].what, "no route matches: extra: empty");
    let everything = format!("{counts:?} {lines:?}");
    for hidden in ["SECRET", "张三", "13800000000", "Wx_Mini"] {
        assert!(!everything.contains(hidden));
    }
    // More values than are kept are still counted as attempts.
    for n in 0..1000 {
        note(&mut counts, &router, &[], &with_extra(&n.to_string()), None);
    }
    let lines = counts.advice(&router);
    assert_eq!(lines[0].count, 1004);
    assert!(lines[0].what.contains("extra: present, over 256 distinct values"));
}

#[test]
fn a_field_of_many_values_is_hidden_and_does_not_split_groups() {
    let router = router(Vec::new());
    let mut counts = UnmappedCounts::default();
    for n in 0..50 {
        note(
            &mut counts,
            &router,
            &captures(&[("user", &format!("U{n}")), ("kind", "a")]),
            &Record::default(),
            None,
        );
    }
    assert_eq!(counts.advice(&router).len(), 50);
    note(
        &mut counts,
        &router,
        &captures(&[("user", "U50"), ("kind", "b")]),
        &Record::default(),
        None,
    );
    let lines = counts.advice(&router);
    assert_eq!(lines.iter().map(|line| line.count).collect::<Vec<_>>(), [50, 1]);
    assert_eq!(
        lines[0].what,
        "no route matches: kind = \"a\", user: over 50 values (not shown: it may be an id), extra: absent"
    );
    assert!(lines[0].advice.contains("match = { kind = \"a\" }"));
    assert!(!format!("{counts:?}").contains("U1"));
}

/// Hours and shards of an export are no channels: what routes name, and the envelope, tells groups apart.
#[test]
fn only_fields_that_speak_of_channels_tell_groups_apart() {
    let hours = |router: &Router| {
        let mut counts = UnmappedCounts::default();
        for n in 0..24 {
            let key =
                captures(&[("hour", &n.to_string()), ("lane", if n < 20 { "x" } else { "y" })]);
            note(&mut counts, router, &key, &Record::default(), None);
        }
        counts.advice(router).iter().map(|line| line.count).collect::<Vec<_>>()
    };
    assert_eq!(hours(&router(Vec::new())), [1; 24]);
    let named = route(&[("lane", &["z"])], "enhanced", Some("app_sdk"), None);
    assert_eq!(hours(&router(vec![named])), [20, 4]);
}

#[test]
fn compare_libraries_are_counted_by_value() {
    let router = router(vec![route(&[], "enhanced", Some("app_sdk"), None)]);
    let mut counts = UnmappedCounts::default();
    for lib in
        [Some("二次验证库"), Some("二次验证库"), Some("二次验证库"), Some("权威库 "), None, None]
    {
        note(&mut counts, &router, &[], &Record::default(), lib);
    }
    let long = "长".repeat(41);
    note(&mut counts, &router, &[], &Record::default(), Some(&long));
    let lines = counts.advice(&router);
    assert_eq!(
        lines.iter().map(|line| (line.count, line.what.clone())).collect::<Vec<_>>(),
        [
            (3, "no compare source: compare_lib_type = \"二次验证库\"".to_owned()),
            (2, "no compare source: compare_lib_type is null".to_owned()),
            (1, "no compare source: compare_lib_type = \"权威库 \"".to_owned()),
            (1, format!("no compare source: compare_lib_type = \"{}…\" (cut)", "长".repeat(40))),
        ]
    );
    assert!(
        lines[0].advice.ends_with(
            "[compare_lib_types]\n\"二次验证库\" = \"…\"  # authority or uploaded_photo"
        )
    );
    assert!(lines[1].advice.contains("compare_source = \"…\"  # authority or uploaded_photo"));
    assert!(lines[2].advice.starts_with("\"权威库\" would match but for case or spaces\n"));
    for n in 0..100 {
        note(&mut counts, &router, &[], &Record::default(), Some(&format!("库{n:03}")));
    }
    let lines = counts.advice(&router);
    // 50 by value, null, and the others.
    assert_eq!(lines.len(), 52);
    assert_eq!(lines[51].what, "no compare source: others");
    assert_eq!(lines.iter().map(|line| line.count).sum::<u64>(), 107);
}

#[test]
fn combinations_that_are_not_sold_are_explained() {
    let router = router(vec![
        route(&[("c", &["1"])], "basic", Some("LivenessCompare"), None),
        route(&[], "nfc", None, None),
    ]);
    let mut counts = UnmappedCounts::default();
    note(&mut counts, &router, &captures(&[("c", "1")]), &Record::default(), Some("权威库"));
    note(&mut counts, &router, &[], &Record::default(), None);
    let lines = counts.advice(&router);
    assert_eq!(lines[0].what, "no such row in the catalogue: basic/LivenessCompare with authority");
    assert_eq!(
        lines[0].advice,
        "basic/LivenessCompare is billed with uploaded_photo only: correct the product or channel of its route"
    );
    assert_eq!(lines[1].what, "no such row in the catalogue: nfc with no compare source");
    assert!(lines[1].advice.starts_with("nfc is never billed by LivenessDetail"));
}

/// Captures, Extra, compare library.
type Noted = (Vec<(String, String)>, String, String);

#[test]
fn counts_are_the_same_in_any_split_and_order() {
    let router = router(vec![route(&[("channel", &["app"])], "enhanced", Some("app_sdk"), None)]);
    // 50 x 30 groups, over the bound of 1000; one field over its bound; libraries and extras over
    // theirs.
    let notes: Vec<Noted> = (0..6000)
        .map(|n| {
            let key = if n % 4 == 0 {
                captures(&[("channel", "app")])
            } else {
                let (rule, shop) = ((n % 50).to_string(), ((n / 50) % 30).to_string());
                captures(&[("lane", &rule), ("shop", &shop)])
            };
            (key, format!("extra{}", n % 300), format!("库{}", n % 120))
        })
        .collect();
    let collect = |notes: &[&Noted]| {
        let mut counts = UnmappedCounts::default();
        for (key, extra, lib) in notes {
            note(&mut counts, &router, key, &with_extra(extra), Some(lib));
        }
        counts
    };
    let forward: Vec<_> = notes.iter().collect();
    let backward: Vec<_> = notes.iter().rev().collect();
    let whole = collect(&forward).advice(&router);
    assert_eq!(whole.iter().map(|line| line.count).sum::<u64>(), 6000);
    assert_eq!(whole.iter().filter(|line| line.what.starts_with("no route")).count(), 1001);
    assert_eq!(collect(&backward).advice(&router), whole);
    let mut merged = UnmappedCounts::default();
    for part in backward.chunks(777) {
        merged.merge(collect(part));
    }
    assert_eq!(merged.advice(&router), whole);

    let ids: Vec<_> = (0..3000)
        .map(|n| {
            (
                captures(&[("user", &n.to_string()), ("shop", &(n % 7).to_string())]),
                String::new(),
                String::new(),
            )
        })
        .collect();
    let forward: Vec<_> = ids.iter().collect();
    let whole = collect(&forward).advice(&router);
    assert_eq!(whole.len(), 7);
    let mut merged = UnmappedCounts::default();
    for part in forward.chunks(40).rev() {
        merged.merge(collect(part));
    }
    assert_eq!(merged.advice(&router), whole);
}
