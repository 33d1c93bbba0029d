//! Routes: which product and channel a record belongs to; and from there, with an attempt's compare
//! library, its tag.
//!
//! Takes key captures, a record and a compare library by name. Gives a tag, or says why there is
//! none. Never guesses: what the routes, the pipeline and the catalogue do not say stays unmapped.

use std::collections::BTreeMap;

use super::catalogue::{Catalogue, Tag, TagId};
use crate::model::{CompareSource, Record, Settlement, UsageDay};

/// What `Text.CompareLibType` and its namesake in an attempt say of the library compared against.
/// 二次验证库 and 人工审核库 are documented too, but no page says under which tag they are billed.
/// Source: FaceID API 2018-03-01, `DetectDetail` and `DetectInfoText`, now and as of 2021; the
/// pairing is ours.
const COMPARE_LIBS: [(&str, CompareSource); 4] = [
    ("权威库", CompareSource::Authority),
    ("商业库", CompareSource::Authority),
    ("公安商业库", CompareSource::Authority),
    ("业务方自有库", CompareSource::UploadedPhoto),
];

/// One line of a route's `match`: the field holds one of the values, exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// A key capture or an envelope field (`biz_token`, `rule_id`, `channel`) by name, or `extra`:
    /// `Text.Extra`.
    pub field: String,
    /// One of them equals the field's value. An absent field equals none, and an empty list matches
    /// nothing.
    pub values: Vec<String>,
}

/// A `[[route]]` of the pipeline, checked against the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// All must hold. An empty list matches every record.
    pub conditions: Vec<Condition>,
    /// Product code of the catalogue.
    pub product: &'static str,
    /// Channel code of the catalogue; `None` for the products that have no channels.
    pub channel: Option<&'static str>,
    /// Used for the attempts whose compare library gives none.
    pub compare_source: Option<CompareSource>,
}

/// Why a `[[route]]` names nothing in the catalogue. `known` is what could stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error("no such product: use one of {}", known.join(", "))]
    UnknownProduct { known: Vec<&'static str> },
    #[error("the product has no such channel: use one of {}", known.join(", "))]
    UnknownChannel { known: Vec<&'static str> },
    #[error("the product's tag depends on the channel: add one of {}", known.join(", "))]
    ChannelMissing { known: Vec<&'static str> },
    #[error("the product has no channels: leave the channel out")]
    ChannelNotTaken,
}

impl Route {
    /// Looks product and channel up in the catalogue.
    pub fn new(
        conditions: Vec<Condition>,
        product: &str,
        channel: Option<&str>,
        compare_source: Option<CompareSource>,
    ) -> Result<Route, RouteError> {
        let catalogue = Catalogue::get();
        let products = catalogue.products();
        let Some(product) = products.iter().copied().find(|known| *known == product) else {
            return Err(RouteError::UnknownProduct { known: products });
        };
        let channels = catalogue.channels(product);
        let channel = match channel {
            None if channels.is_empty() => None,
            None => return Err(RouteError::ChannelMissing { known: channels }),
            Some(_) if channels.is_empty() => return Err(RouteError::ChannelNotTaken),
            Some(channel) => match channels.iter().copied().find(|known| *known == channel) {
                Some(channel) => Some(channel),
                None => return Err(RouteError::UnknownChannel { known: channels }),
            },
        };
        Ok(Route { conditions, product, channel, compare_source })
    }

    /// The values must be sorted: lists of rule ids can be long.
    fn matches(&self, captures: &[(String, String)], record: &Record<'_>) -> bool {
        self.conditions.iter().all(|condition| {
            field_value(&condition.field, captures, record).is_some_and(|value| {
                match condition.values.len() {
                    ..=VALUES_FEW => condition.values.iter().any(|v| v == value),
                    _ => condition.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok(),
                }
            })
        })
    }
}

/// So many are compared one by one: that two texts are equal is asked faster than which comes first.
const VALUES_FEW: usize = 8;

/// A field of a condition: an envelope field if the record has it, else the capture of that name.
fn field_value<'a>(
    name: &str,
    captures: &'a [(String, String)],
    record: &'a Record<'_>,
) -> Option<&'a str> {
    let of_record = match name {
        "extra" => return record.extra.as_deref(),
        "biz_token" => record.biz_token.as_deref(),
        "rule_id" => record.rule_id.as_deref(),
        "channel" => record.channel.as_deref(),
        _ => None,
    };
    of_record.or_else(|| {
        captures.iter().find(|(capture, _)| capture == name).map(|(_, value)| value.as_str())
    })
}

/// What a record's route says; the same for all of its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Routed {
    /// Place of the route in the pipeline, from 0; `None` when none matched.
    pub route: Option<usize>,
    /// `intention` when `IsVerifyIntention` is true, whatever the route says.
    pub product: Option<&'static str>,
    /// The route's channel.
    pub channel: Option<&'static str>,
    /// The route's compare source.
    compare_source: Option<CompareSource>,
    tags: TagsBySource,
}

/// The tags of a (product, channel), by compare source; `UNMAPPED` where the catalogue has no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TagsBySource {
    authority: TagId,
    uploaded_photo: TagId,
}

impl TagsBySource {
    fn of(product: &str, channel: Option<&str>) -> TagsBySource {
        let tag = |source| {
            Catalogue::get()
                .row(product, channel, Some(source))
                .map_or(TagId::UNMAPPED, |row| row.tag)
        };
        TagsBySource {
            authority: tag(CompareSource::Authority),
            uploaded_photo: tag(CompareSource::UploadedPhoto),
        }
    }

    fn get(self, source: CompareSource) -> TagId {
        match source {
            CompareSource::Authority => self.authority,
            CompareSource::UploadedPhoto => self.uploaded_photo,
        }
    }

    /// No row whatever the source: a product that has no LivenessDetail.
    fn is_empty(self) -> bool {
        self.authority == TagId::UNMAPPED && self.uploaded_photo == TagId::UNMAPPED
    }
}

/// What an attempt is billed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tagged {
    pub tag: TagId,
    pub product: Option<&'static str>,
    pub channel: Option<&'static str>,
    pub compare_source: Option<CompareSource>,
    /// Some exactly when `tag` is [`TagId::UNMAPPED`].
    pub why_unmapped: Option<WhyUnmapped>,
}

/// Why an attempt has no billing tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyUnmapped {
    /// No route matches its record.
    NoRoute,
    /// Neither its compare library nor its route says against what it was compared.
    NoCompareSource,
    /// The catalogue has no row of its product, channel and source: `LivenessCompare` is never
    /// against 权威库.
    NoSuchRow,
}

/// The routes of a pipeline and its compare libraries.
#[derive(Clone, Debug)]
pub struct Router {
    routes: Vec<(Route, TagsBySource)>,
    intention: TagsBySource,
    compare_libs: Vec<(String, CompareSource)>,
}

const INTENTION: &str = "intention";

impl Router {
    /// `compare_lib_types` are the pipeline's own; they win over those known here.
    pub fn new(routes: Vec<Route>, compare_lib_types: BTreeMap<String, CompareSource>) -> Router {
        let mut compare_libs: BTreeMap<String, CompareSource> =
            COMPARE_LIBS.iter().map(|(name, source)| (name.to_string(), *source)).collect();
        compare_libs.extend(compare_lib_types);
        Router {
            routes: routes
                .into_iter()
                .map(|mut route| {
                    route
                        .conditions
                        .iter_mut()
                        .for_each(|condition| condition.values.sort_unstable());
                    let tags = TagsBySource::of(route.product, route.channel);
                    (route, tags)
                })
                .collect(),
            intention: TagsBySource::of(INTENTION, None),
            compare_libs: compare_libs.into_iter().collect(),
        }
    }

    /// In the pipeline's order, the values of their conditions sorted.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Route> {
        self.routes.iter().map(|(route, _)| route)
    }

    /// The names of compare libraries that give a source: those of the pipeline and those known here.
    pub fn compare_libs(&self) -> impl Iterator<Item = &str> {
        self.compare_libs.iter().map(|(name, _)| name.as_str())
    }

    /// The first route that matches. `captures` are those of the object's key, by name. Does not
    /// allocate.
    pub fn route(&self, captures: &[(String, String)], record: &Record<'_>) -> Routed {
        let found =
            self.routes.iter().enumerate().find(|(_, (route, _))| route.matches(captures, record));
        let mut routed = match found {
            Some((at, (route, tags))) => Routed {
                route: Some(at),
                product: Some(route.product),
                channel: route.channel,
                compare_source: route.compare_source,
                tags: *tags,
            },
            None => Routed {
                route: None,
                product: None,
                channel: None,
                compare_source: None,
                tags: TagsBySource { authority: TagId::UNMAPPED, uploaded_photo: TagId::UNMAPPED },
            },
        };
        if record.is_verify_intention {
            routed.product = Some(INTENTION);
            routed.tags = self.intention;
        }
        routed
    }

    /// The tag of one attempt of a record so routed. Does not allocate.
    pub fn tag(&self, routed: &Routed, compare_lib_type: Option<&str>) -> Tagged {
        let compare_source = compare_lib_type
            .and_then(|lib| {
                self.compare_libs.iter().find(|(name, _)| *name == lib).map(|(_, source)| *source)
            })
            .or(routed.compare_source);
        let tag = compare_source.map_or(TagId::UNMAPPED, |source| routed.tags.get(source));
        let why_unmapped = if tag != TagId::UNMAPPED {
            None
        } else if routed.product.is_none() {
            Some(WhyUnmapped::NoRoute)
        } else if compare_source.is_none() && !routed.tags.is_empty() {
            Some(WhyUnmapped::NoCompareSource)
        } else {
            Some(WhyUnmapped::NoSuchRow)
        };
        Tagged {
            tag,
            product: routed.product,
            channel: routed.channel,
            compare_source,
            why_unmapped,
        }
    }
}

/// The day on which usage of `day` under `tag` is settled: as the account settles, but for the tags
/// that are always settled monthly.
pub fn settlement_date(account: Settlement, tag: &Tag, day: UsageDay) -> UsageDay {
    let settlement = if tag.monthly { Settlement::Monthly } else { account };
    settlement.date(day)
}
