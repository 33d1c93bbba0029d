//! Billing tags of a bill's lines.
//!
//! Takes what a line calls its sub-product and components. The sub-product is what the tag is made of; a component may
//! stand for another one only where the pipeline says so.

use std::collections::HashMap;

use super::catalogue::{Catalogue, TagId, folded};

/// Codes of sub-products that are known: FaceID's own example of `DescribeBillDetail`. Others are the pipeline's to name.
const CODES: [(&str, &str); 1] = [("sp_ai_image_huiyan_idbankcard", "bank_card_check")];

/// What may stand before the sub-product: the product's name, folded, with or without its dot or dash.
const PREFIXES: [&str; 3] = ["人脸核身·云智慧眼-", "人脸核身-云智慧眼-", "人脸核身云智慧眼-"];

/// Names and codes that the pipeline maps to tags, by their folded form.
#[derive(Clone, Debug, Default)]
pub struct BillTags(HashMap<String, TagId>);

impl BillTags {
    /// From names or codes of sub-products or components to codes of tags. A tag that does not exist is the error.
    pub fn new<'m>(
        map: impl IntoIterator<Item = (&'m str, &'m str)>,
    ) -> Result<BillTags, UnknownTag> {
        let catalogue = Catalogue::get();
        let entry = |(name, code): (&str, &str)| match catalogue.tag_by_code(code) {
            Some(tag) => Ok((bare(name), tag)),
            None => Err(UnknownTag { name: name.to_owned(), code: code.to_owned() }),
        };
        Ok(BillTags(map.into_iter().map(entry).collect::<Result<_, _>>()?))
    }
}

/// A name is mapped to a tag that the catalogue does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is mapped to {code}, which is no code of a billing tag")]
pub struct UnknownTag {
    pub name: String,
    pub code: String,
}

/// What a line of the bill says of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct BillNames<'l> {
    pub product_name: Option<&'l str>,
    pub product_code: Option<&'l str>,
    pub component_name: Option<&'l str>,
    pub component_code: Option<&'l str>,
    pub item_name: Option<&'l str>,
    pub item_code: Option<&'l str>,
}

/// The tag of a line: by the pipeline's map (the most special first: 组件名称, 组件类型, 子产品), by a known code, by the
/// catalogue's labels and aliases of the sub-product; else [`TagId::UNMAPPED`].
pub fn billing_tag_of_bill(names: &BillNames<'_>, map: &BillTags) -> TagId {
    if !map.0.is_empty() {
        let special = [
            names.item_code,
            names.item_name,
            names.component_code,
            names.component_name,
            names.product_code,
            names.product_name,
        ];
        if let Some(tag) = special.into_iter().flatten().find_map(|name| map.0.get(&bare(name))) {
            return *tag;
        }
    }
    let catalogue = Catalogue::get();
    let known = |code: &str| {
        let (_, tag) = CODES.iter().find(|(known, _)| *known == code)?;
        catalogue.tag_by_code(tag)
    };
    names
        .product_code
        .and_then(known)
        .or_else(|| catalogue.tag_by_label(&bare(names.product_name?)))
        .unwrap_or(TagId::UNMAPPED)
}

/// Folded, without the product's name before it.
fn bare(name: &str) -> String {
    let name = folded(name);
    match PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(product_name: &str, map: &BillTags) -> &'static str {
        let names = BillNames { product_name: Some(product_name), ..BillNames::default() };
        Catalogue::get().tag(billing_tag_of_bill(&names, map)).code
    }

    #[test]
    fn a_sub_product_is_a_tag_however_it_is_spelt() {
        for (name, expected) in [
            ("银行卡信息核验", "bank_card_check"),
            ("人脸核身·云智慧眼-银行卡信息核验", "bank_card_check"),
            ("人脸核身-云智慧眼-银行卡信息核验", "bank_card_check"),
            ("人脸核身 · 云智慧眼 - E 证通(权威库)", "eid_authority"),
            ("增强版人脸核身(权威库)- APP", "enhanced_authority_app"),
            ("身份信息核验", "id_card_check"),
            ("手机号信息核验(三要素)", "mobile_check_3e"),
            // Prices of their own, or more than one of these tags: the pipeline's to map.
            ("手机号信息核验(三要素)-移动", "unmapped"),
            ("手机号信息核验", "unmapped"),
            ("活体人脸核身", "unmapped"),
            ("人脸核身·云智慧眼-", "unmapped"),
            ("", "unmapped"),
        ] {
            assert_eq!(code(name, &BillTags::default()), expected, "{name}");
        }
    }

    #[test]
    fn a_known_code_needs_no_name() {
        let by_code = |product_code| {
            let names = BillNames { product_code: Some(product_code), ..BillNames::default() };
            Catalogue::get().tag(billing_tag_of_bill(&names, &BillTags::default())).code
        };
        assert_eq!(by_code("sp_ai_image_huiyan_idbankcard"), "bank_card_check");
        assert_eq!(by_code("sp_ai_image_huiyan_other"), "unmapped");
    }

    #[test]
    fn the_pipeline_maps_names_and_codes_and_the_most_special_wins() {
        let map = BillTags::new([
            ("手机号信息核验（三要素）-移动", "mobile_check_3e"),
            ("sv_x", "id_card_check"),
            ("银行卡信息核验", "bank_card_info"),
        ])
        .expect("codes of tags");
        assert_eq!(code("人脸核身·云智慧眼-手机号信息核验(三要素)-移动", &map), "mobile_check_3e");
        assert_eq!(code("银行卡信息核验", &map), "bank_card_info");
        let names = BillNames {
            product_name: Some("银行卡信息核验"),
            item_code: Some("sv_x"),
            ..BillNames::default()
        };
        assert_eq!(Catalogue::get().tag(billing_tag_of_bill(&names, &map)).code, "id_card_check");
        let wrong = BillTags::new([("活体人脸核身", "no_such")]).expect_err("no such tag");
        assert_eq!(
            wrong.to_string(),
            "活体人脸核身 is mapped to no_such, which is no code of a billing tag"
        );
    }
}
