//! A listing taken from an inventory file: opened here, read by `sources`, handed on some objects at a time.

use super::RunError;
use crate::pipeline::{Inventory, Pipeline};
use crate::sources::inventory::{self, Manifest};
use crate::storage::{ObjectInfo, Place};
use flate2::read::MultiGzDecoder;
use std::io::Read;

/// Objects handed on at a time: few enough to hold, enough to be worth the call.
const CHUNK_OBJECTS: usize = 50_000;

/// Reads the inventory; `each` is given its objects in chunks, in no order, with keys relative to the source.
pub fn read(
    pipeline: &Pipeline,
    inventory: &Inventory,
    source: &Place,
    each: &mut dyn FnMut(Vec<ObjectInfo>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let options = &pipeline.source.options;
    let (folder, name) = inventory.url.rsplit_once('/').unwrap_or((".", &inventory.url));
    let place = Place::open_source(folder, options)?;
    let prefix = inventory.prefix.clone().unwrap_or_else(|| match source.local_folder() {
        Some(_) => String::new(),
        None => source.url().path().trim_matches('/').to_owned(),
    });
    if !name.ends_with("manifest.json") {
        let encoded = inventory.encoded.unwrap_or(false);
        return read_file(&place, name, None, &prefix, encoded, each);
    }
    let manifest =
        Manifest::parse(&place.read_all(name)?).map_err(|error| wrong(&place, name, &error))?;
    let bucket = source.url().host_str().filter(|_| source.local_folder().is_none());
    if let Some(bucket) = bucket.filter(|bucket| *bucket != manifest.source_bucket) {
        let what = format!(
            "it lists the bucket {}, and source.url is in {bucket}: name the inventory of that one",
            manifest.source_bucket
        );
        return Err(wrong(&place, name, &what));
    }
    // Files are named from the top of their bucket; of a copy on a disk, from the manifest's folder.
    let files = match place.local_folder() {
        Some(_) => place.clone(),
        None => {
            let scheme = place.url().scheme();
            Place::open(&format!("{scheme}://{}/", manifest.destination_bucket), options)?
        }
    };
    let encoded = inventory.encoded.unwrap_or(true);
    for file in &manifest.files {
        read_file(&files, &file.key, Some(&manifest.columns), &prefix, encoded, each)?;
    }
    Ok(())
}

fn wrong(place: &Place, name: &str, what: &dyn std::fmt::Display) -> RunError {
    RunError::Usage(format!("source.inventory: {place}/{name}: {what}"))
}

fn read_file(
    place: &Place,
    name: &str,
    columns: Option<&[String]>,
    prefix: &str,
    encoded: bool,
    each: &mut dyn FnMut(Vec<ObjectInfo>) -> Result<(), RunError>,
) -> Result<(), RunError> {
    let (_, input) = place.open_object(name, 0, None)?;
    let input: Box<dyn Read> = match name.ends_with(".gz") {
        true => Box::new(MultiGzDecoder::new(input)),
        false => input,
    };
    let mut chunk = Vec::new();
    let mut failed = None;
    let mut take = |object: ObjectInfo| {
        chunk.push(object);
        if chunk.len() >= CHUNK_OBJECTS && failed.is_none() {
            failed = each(std::mem::take(&mut chunk)).err();
        }
    };
    let read = inventory::read(input, columns, prefix, encoded, &mut take);
    read.map_err(|error| wrong(place, name, &error))?;
    match failed {
        Some(error) => Err(error),
        None => each(chunk),
    }
}
