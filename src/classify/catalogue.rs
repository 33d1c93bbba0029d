//! The catalogue of billing tags, from the one data file `catalogue.toml`.
//!
//! Takes nothing but that file, which is part of the program. Gives tags, rows and their look-ups.
//! Never decides which row a record belongs to.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::model::CompareSource;

/// A billing tag: its place in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TagId(u8);

impl TagId {
    /// The last tag: of what no row of the catalogue fits. Loading the catalogue checks that it
    /// stands there.
    pub const UNMAPPED: TagId = TagId(19);

    /// The place in [`Catalogue::tags`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A billing tag (计费标签), the thing that has a price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Ours: stable, ASCII.
    pub code: &'static str,
    /// Exactly as in the billing overview (page 1007/56803), outer spaces trimmed.
    pub label: &'static str,
    /// Settled on the 1st of the next month even for an account that settles daily.
    pub monthly: bool,
    /// Other spellings that white space, width and letter case do not explain.
    pub aliases: Vec<&'static str>,
}

/// A row of the billing overview: what is sold, over which channel or API, against which library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueRow {
    pub product: &'static str,
    pub product_label: &'static str,
    /// A channel's code, or the API's Action; `None` for the products that have no channels.
    pub channel: Option<&'static str>,
    /// The text of the row's first cell.
    pub channel_label: &'static str,
    /// The API's Action, version 2018-03-01; `None` for what is sold as a flow.
    pub api: Option<&'static str>,
    /// `None` where the overview's table has no such column.
    pub compare_source: Option<CompareSource>,
    pub tag: TagId,
}

/// All tags and rows. There is one.
#[derive(Debug)]
pub struct Catalogue {
    tags: Vec<Tag>,
    rows: Vec<CatalogueRow>,
    by_label: HashMap<String, TagId>,
}

impl Catalogue {
    /// The catalogue, parsed at the first call.
    pub fn get() -> &'static Catalogue {
        static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
            // A file that is part of the program and does not load is our bug, and every test would
            // show it.
            match Catalogue::load(include_str!("catalogue.toml")) {
                Ok(catalogue) => catalogue,
                Err(why) => panic!("src/classify/catalogue.toml: {why}"),
            }
        });
        &CATALOGUE
    }

    /// In the overview's order; [`TagId::UNMAPPED`] is the last.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// In the overview's order.
    pub fn rows(&self) -> &[CatalogueRow] {
        &self.rows
    }

    pub fn tag(&self, id: TagId) -> &Tag {
        &self.tags[id.index()]
    }

    pub fn tag_by_code(&self, code: &str) -> Option<TagId> {
        self.tags.iter().position(|tag| tag.code == code).map(|at| TagId(at as u8))
    }

    /// By label or alias, whatever the width of its brackets, its white space and its letter case:
    /// `增强版人脸核身(权威库) - APP` is `增强版人脸核身（权威库）-App`.
    pub fn tag_by_label(&self, label: &str) -> Option<TagId> {
        self.by_label.get(&folded(label)).copied()
    }

    /// The row of exactly these three.
    pub fn row(
        &self,
        product: &str,
        channel: Option<&str>,
        compare_source: Option<CompareSource>,
    ) -> Option<&CatalogueRow> {
        self.rows.iter().find(|row| {
            row.product == product && row.channel == channel && row.compare_source == compare_source
        })
    }

    /// Codes of the products, in the overview's order.
    pub fn products(&self) -> Vec<&'static str> {
        let mut products: Vec<&'static str> = self.rows.iter().map(|row| row.product).collect();
        products.dedup();
        products
    }

    /// Codes of a product's channels, in the overview's order; empty for a product without
    /// channels.
    pub fn channels(&self, product: &str) -> Vec<&'static str> {
        let mut channels = Vec::new();
        for row in self.rows.iter().filter(|row| row.product == product) {
            if let Some(channel) = row.channel
                && !channels.contains(&channel)
            {
                channels.push(channel);
            }
        }
        channels
    }

    fn load(text: &str) -> Result<Catalogue, String> {
        // The catalogue lives as long as the program, so that its strings can be handed out as
        // 'static.
        let file: &'static File =
            Box::leak(Box::new(toml::from_str(text).map_err(|e| e.to_string())?));
        let tags: Vec<Tag> = file.tag.iter().map(TagEntry::tag).collect::<Result<_, _>>()?;
        if tags.len() != TagId::UNMAPPED.index() + 1
            || tags[TagId::UNMAPPED.index()].code != "unmapped"
        {
            return Err(format!(
                "`unmapped` must be the last tag, the one at {}",
                TagId::UNMAPPED.index()
            ));
        }
        let mut catalogue = Catalogue { tags, rows: Vec::new(), by_label: HashMap::new() };
        for (at, tag) in catalogue.tags.iter().enumerate() {
            for name in std::iter::once(tag.label).chain(tag.aliases.iter().copied()) {
                let id = TagId(at as u8);
                if catalogue.by_label.insert(folded(name), id).is_some_and(|before| before != id) {
                    return Err(format!("two tags are called {name}"));
                }
            }
        }
        for entry in &file.rows {
            let row = entry.row(file, &catalogue)?;
            if catalogue.row(row.product, row.channel, row.compare_source).is_some() {
                return Err(format!("two rows say the same of {}", row.channel_label));
            }
            catalogue.rows.push(row);
        }
        Ok(catalogue)
    }
}

/// The form in which labels are compared: full-width ASCII made half-width, without white space, in
/// lower case.
pub(super) fn folded(label: &str) -> String {
    label
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| match c {
            // The full-width forms stand in ASCII's order, this far above it.
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tag: Vec<TagEntry>,
    product: Vec<ProductEntry>,
    rows: Vec<RowEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TagEntry {
    code: String,
    label: String,
    settlement: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductEntry {
    code: String,
    label: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RowEntry {
    product: String,
    channel: Option<String>,
    channel_label: String,
    api: Option<String>,
    compare_source: Option<String>,
    tag: String,
}

impl TagEntry {
    fn tag(&'static self) -> Result<Tag, String> {
        let monthly = match self.settlement.as_deref() {
            None => false,
            Some("monthly") => true,
            Some(other) => {
                return Err(format!("settlement = \"{other}\" of {}: only \"monthly\"", self.code));
            }
        };
        Ok(Tag {
            code: &self.code,
            label: &self.label,
            monthly,
            aliases: self.aliases.iter().map(String::as_str).collect(),
        })
    }
}

impl RowEntry {
    fn row(
        &'static self,
        file: &'static File,
        catalogue: &Catalogue,
    ) -> Result<CatalogueRow, String> {
        let product = file
            .product
            .iter()
            .find(|product| product.code == self.product)
            .ok_or_else(|| format!("no product {}", self.product))?;
        let compare_source = match self.compare_source.as_deref() {
            None => None,
            Some(code) => Some(
                CompareSource::parse(code).ok_or_else(|| format!("no compare source {code}"))?,
            ),
        };
        if self.channel.is_some() && self.api.is_some() {
            return Err(format!("{} has both a channel and an API", self.channel_label));
        }
        Ok(CatalogueRow {
            product: &product.code,
            product_label: &product.label,
            channel: self.channel.as_deref().or(self.api.as_deref()),
            channel_label: &self.channel_label,
            api: self.api.as_deref(),
            compare_source,
            tag: catalogue.tag_by_code(&self.tag).ok_or_else(|| format!("no tag {}", self.tag))?,
        })
    }
}
