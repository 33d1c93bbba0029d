//! Attempts as columns, held as small as can be.
//!
//! Takes tagged attempts one by one, or record batches of stored files; gives [`Rows`], from which the columns
//! of the file schema are made when a file is written. What comes again and again (tags, codes and messages,
//! keys) stands once and each row holds its place; a UUID is sixteen bytes.

use super::ids::{Id, Ids, Interned, mixed_top};
use super::schema::{self, LIVENESS_DETAIL};
use crate::model::{Attempt, Record, Texts, UsageDay};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, PrimitiveArray, RecordBatch,
    StringArray, StructArray, TimestampMillisecondArray, new_empty_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int32Type, Int64Type, TimestampMillisecondType,
};
use arrow::error::ArrowError;
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::Arc;

/// What the run knows of an attempt besides what its record says.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'p> {
    pub usage_date: UsageDay,
    pub settlement_date: UsageDay,
    pub billing_tag: &'static str,
    pub billing_tag_code: &'static str,
    pub product: Option<&'static str>,
    pub channel: Option<&'static str>,
    pub compare_source: Option<&'static str>,
    pub snapshot_final: Option<bool>,
    pub biz_token: Option<&'p str>,
    pub rule_id: Option<&'p str>,
    pub idcard_hmac: Option<&'p str>,
    pub name_hmac: Option<&'p str>,
    /// Fetch time of its snapshot (envelope, else last-modified), milliseconds since the epoch.
    pub rank_time: i64,
}

/// Whose attempts they are and how they are charged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// `Date32`, as the next.
    pub usage_date: i32,
    pub settlement_date: i32,
    pub account: Arc<str>,
    pub billing_tag: Cow<'static, str>,
    pub billing_tag_code: Cow<'static, str>,
    pub product: Option<Cow<'static, str>>,
    pub channel: Option<Cow<'static, str>>,
    pub compare_source: Option<Cow<'static, str>>,
    pub rule_id: Option<Box<str>>,
}

/// What the service says became of an attempt, as received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Said<S = Box<str>> {
    pub errcode: Option<i32>,
    pub livestatus: Option<i32>,
    pub comparestatus: Option<i32>,
    pub errmsg: Option<S>,
    pub livemsg: Option<S>,
    pub comparemsg: Option<S>,
    pub compare_lib_type: Option<S>,
    pub liveness_mode: Option<i8>,
}

impl Said<&str> {
    /// What mostly tells it from others.
    fn clue(&self) -> u64 {
        let code = |code: Option<i32>| code.map_or(u64::MAX, |code| code as u64);
        let len = |text: Option<&str>| text.map_or(u64::MAX, |text| text.len() as u64);
        let mode = self.liveness_mode.map_or(u64::MAX, |mode| mode as u64);
        [code(self.livestatus), code(self.comparestatus), len(self.compare_lib_type), mode]
            .into_iter()
            .fold(code(self.errcode), |clue, fact| clue.wrapping_mul(31).wrapping_add(fact))
    }

    fn is(&self, said: &Said) -> bool {
        self.errcode == said.errcode
            && self.livestatus == said.livestatus
            && self.comparestatus == said.comparestatus
            && self.liveness_mode == said.liveness_mode
            && self.errmsg == said.errmsg.as_deref()
            && self.livemsg == said.livemsg.as_deref()
            && self.comparemsg == said.comparemsg.as_deref()
            && self.compare_lib_type == said.compare_lib_type.as_deref()
    }

    fn own(&self) -> Said {
        let own = |text: Option<&str>| text.map(Box::from);
        Said {
            errcode: self.errcode,
            livestatus: self.livestatus,
            comparestatus: self.comparestatus,
            errmsg: own(self.errmsg),
            livemsg: own(self.livemsg),
            comparemsg: own(self.comparemsg),
            compare_lib_type: own(self.compare_lib_type),
            liveness_mode: self.liveness_mode,
        }
    }
}

/// Facts of a row that are true, false or unknown, two bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

const CHARGE: u8 = 0;
const FINAL: u8 = 2;
const FETCHED: u8 = 4;

impl Flags {
    pub fn new(is_need_charge: Option<bool>, snapshot_final: Option<bool>, fetched: bool) -> Flags {
        let bits = |fact: Option<bool>| fact.map_or(0, |yes| 2 | u8::from(yes));
        Flags(
            bits(is_need_charge) << CHARGE
                | bits(snapshot_final) << FINAL
                | u8::from(fetched) << FETCHED,
        )
    }

    fn fact(self, place: u8) -> Option<bool> {
        (self.0 >> place & 2 != 0).then_some(self.0 >> place & 1 != 0)
    }

    pub fn is_need_charge(self) -> Option<bool> {
        self.fact(CHARGE)
    }

    pub fn snapshot_final(self) -> Option<bool> {
        self.fact(FINAL)
    }

    /// Whether the rank is a fetch time that the envelope told.
    pub fn fetched(self) -> bool {
        self.0 >> FETCHED & 1 != 0
    }
}

impl Flags {
    /// The same, as if no envelope had told when it was fetched.
    pub fn unfetched(self) -> Flags {
        Flags(self.0 & !(1 << FETCHED))
    }

    pub fn bits(self) -> u8 {
        self.0
    }

    pub fn from_bits(bits: u8) -> Flags {
        Flags(bits)
    }
}

/// What a pull said of a Seq, and when. Sorts by time, then by what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pull {
    /// Milliseconds since the epoch.
    pub fetched_at: i64,
    pub answer: Answer,
}

/// What pulls of one Seq may say differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answer {
    pub is_need_charge: Option<bool>,
    pub snapshot_final: Option<bool>,
    pub errcode: Option<i32>,
}

impl Pull {
    /// That of a snapshot itself; None where no envelope says when it was made.
    pub fn of(flags: Flags, rank_time: i64, errcode: Option<i32>) -> Option<Pull> {
        let answer = Answer {
            is_need_charge: flags.is_need_charge(),
            snapshot_final: flags.snapshot_final(),
            errcode,
        };
        flags.fetched().then_some(Pull { fetched_at: rank_time, answer })
    }

    /// Each of them once, by time. The same of several lists as of all their pulls, in whatever order they come.
    pub fn each_once(mut pulls: Vec<Pull>) -> Vec<Pull> {
        pulls.sort_unstable();
        pulls.dedup();
        pulls
    }
}

/// An object that rows came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOf {
    /// Which of the [`Keys`]' texts hold its key, and its place in them.
    texts: u32,
    text: u32,
    /// Its place among the objects read.
    pub object: u32,
    /// Which piece of the work the rows came from.
    pub piece: u32,
}

/// The objects that rows came from. Their keys are not copied: those of objects read stand where the listing left
/// them, for all rows.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    texts: Vec<Arc<Texts>>,
    each: Vec<KeyOf>,
}

impl std::ops::Deref for Keys {
    type Target = [KeyOf];

    fn deref(&self) -> &[KeyOf] {
        &self.each
    }
}

impl Keys {
    pub fn text(&self, place: usize) -> &str {
        self.text_of(&self.each[place])
    }

    /// Those of stored rows, of no object that was read.
    pub fn stored(texts: Texts) -> Keys {
        let each =
            (0..texts.len() as u32).map(|text| KeyOf { texts: 0, text, object: NONE, piece: NONE });
        Keys { each: each.collect(), texts: vec![Arc::new(texts)] }
    }

    /// The texts of those that [`Keys::stored`] made, which stand in the same places.
    pub fn stored_texts(&self) -> Option<&Texts> {
        let stored = self.each.first().is_some_and(|key| key.object == NONE);
        self.texts.first().filter(|_| stored).map(Arc::as_ref)
    }

    fn text_of(&self, key: &KeyOf) -> &str {
        self.texts[key.texts as usize].get(key.text as usize)
    }

    /// Adds the objects of others.
    pub fn extend(&mut self, others: &Keys) {
        let places: Vec<u32> = others.texts.iter().map(|texts| self.place_of(texts)).collect();
        self.each.extend(
            others.each.iter().map(|key| KeyOf { texts: places[key.texts as usize], ..*key }),
        );
    }

    fn place_of(&mut self, texts: &Arc<Texts>) -> u32 {
        let held = self.texts.iter().rposition(|held| Arc::ptr_eq(held, texts));
        held.unwrap_or_else(|| {
            self.texts.push(texts.clone());
            self.texts.len() - 1
        }) as u32
    }

    /// As of rows that were stored.
    #[cfg(test)]
    pub fn forget_objects(&mut self) {
        self.each.iter_mut().for_each(|key| (key.object, key.piece) = (NONE, NONE));
    }

    /// Bytes held, but for texts of objects that were read: they are the listing's.
    fn bytes(&self) -> usize {
        let own = self.texts.iter().enumerate().filter(|(place, _)| {
            self.each.first().is_some_and(|key| key.texts as usize == *place && key.object == NONE)
        });
        size_of::<KeyOf>() * self.each.len() + own.map(|(_, texts)| texts.bytes()).sum::<usize>()
    }
}

/// Stands for no object and no piece: of rows that were stored before.
pub const NONE: u32 = u32::MAX;

/// What is held of each row in one piece: who asks for one of these mostly asks for the others, and waits for memory
/// once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// First part of its rank, of which its key, record and index are the rest.
    pub rank_time: i64,
    pub req_time: i64,
    /// Its place in `classes`, as the next two in `saids` and in `keys`.
    pub class: u32,
    pub said: u32,
    pub source_key: u32,
    /// An object of four billion records is not loaded.
    pub source_record: u32,
    pub detail_index: i32,
    pub detail_count: i32,
    /// Hundredths; see [`Row::sim`].
    pub sim_or_none: i32,
    pub flags: Flags,
}

/// Stands for no `sim`.
const NO_SIM: i32 = i32::MIN;

impl Row {
    /// Hundredths.
    pub fn sim(&self) -> Option<i32> {
        Some(self.sim_or_none).filter(|sim| *sim != NO_SIM)
    }

    /// Adds `records` to its record number.
    pub fn shift_record(&mut self, records: i64) {
        self.source_record = (i64::from(self.source_record) + records) as u32;
    }
}

/// Rows of several objects or of a stored file.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    pub each: Vec<Row>,
    pub seq: Ids,
    pub request_id: Ids,
    pub biz_token: Ids,
    pub idcard_hmac: Ids,
    pub name_hmac: Ids,
    /// Of each row the pulls besides its own that are known, as [`Pull::each_once`] has them. Empty where no row has
    /// any, as of all rows just read.
    pub earlier: Vec<Box<[Pull]>>,
    pub classes: Arc<[Class]>,
    pub saids: Arc<[Said]>,
    pub keys: Arc<Keys>,
    /// They stood in the table before.
    pub stored: bool,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.each.len()
    }

    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    pub fn class(&self, row: usize) -> &Class {
        &self.classes[self.each[row].class as usize]
    }

    pub fn said(&self, row: usize) -> &Said {
        &self.saids[self.each[row].said as usize]
    }

    /// `Date32`.
    pub fn usage_date(&self, row: usize) -> i32 {
        self.class(row).usage_date
    }

    pub fn key(&self, row: usize) -> &str {
        self.keys.text(self.each[row].source_key as usize)
    }

    /// Of a row: no row is without one.
    pub fn seq(&self, row: usize) -> Id<'_> {
        self.seq.get(row).unwrap_or(Id::Text(""))
    }

    /// Pulls besides the row's own.
    pub fn earlier(&self, row: usize) -> &[Pull] {
        self.earlier.get(row).map_or(&[], Box::as_ref)
    }

    pub fn set_earlier(&mut self, row: usize, pulls: Box<[Pull]>) {
        self.earlier.resize(self.len(), Box::default());
        self.earlier[row] = pulls;
    }

    /// Adds `records` to every record number: the records of the object that lie before the piece these
    /// rows came from, known only when all its pieces are read.
    pub fn shift_records(&mut self, records: i64) {
        if records != 0 {
            self.each.iter_mut().for_each(|row| row.shift_record(records));
        }
    }

    pub fn each_ids(&self) -> [&Ids; 5] {
        [&self.seq, &self.request_id, &self.biz_token, &self.idcard_hmac, &self.name_hmac]
    }

    /// Bytes held, nearly.
    pub fn bytes(&self) -> usize {
        let ids: usize = self.each_ids().iter().map(|ids| ids.bytes()).sum();
        ids + self.keys.bytes()
            + size_of::<Row>() * self.each.capacity()
            + size_of::<Box<[Pull]>>() * self.earlier.capacity()
            + self.earlier.iter().map(|pulls| size_of_val::<[Pull]>(pulls)).sum::<usize>()
            + size_of::<Class>() * self.classes.len()
            + (size_of::<Said>() + 64) * self.saids.len()
    }
}

/// Places for what alike attempts say: with their libraries and modes some two hundred things in most loads.
const ALIKE: usize = 1024;

/// Builds [`Rows`].
#[derive(Default)]
pub struct RowsBuilder {
    account: Arc<str>,
    rows: Rows,
    classes: Interned<Class>,
    saids: Interned<Said>,
    /// Places of what was said last by attempts that are [`crate::model::Alike`], with their number.
    alike: Vec<(u64, u32)>,
    /// Keys of all objects read, by their place among them.
    of_objects: Option<Arc<Texts>>,
    /// Else those begun.
    own: Texts,
    keys: Vec<KeyOf>,
}

impl RowsBuilder {
    pub fn new(account: &str) -> RowsBuilder {
        RowsBuilder { account: account.into(), ..RowsBuilder::default() }
    }

    /// Of objects whose keys stand in `keys`, each in the place that is told when it is begun.
    pub fn of_objects(account: &str, keys: Arc<Texts>) -> RowsBuilder {
        RowsBuilder { of_objects: Some(keys), ..RowsBuilder::new(account) }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Makes room for rows.
    pub fn reserve(&mut self, n: usize) {
        let rows = &mut self.rows;
        rows.each.reserve(n);
        // The others are null in most loads, and then take no room.
        for ids in [&mut rows.seq, &mut rows.request_id] {
            ids.reserve(n);
        }
    }

    /// The rows that follow come from this object, the `object`th of those read, in this piece of the work.
    pub fn begin_object(&mut self, key: &str, object: usize, piece: usize) {
        let text = match self.of_objects {
            Some(_) => object,
            None => {
                self.own.push(key);
                self.own.len() - 1
            }
        };
        let (object, piece) = (object as u32, piece as u32);
        self.keys.push(KeyOf { texts: 0, text: text as u32, object, piece });
    }

    /// One row. An object must have been begun.
    pub fn push(&mut self, record: &Record<'_>, attempt: &Attempt<'_>, placed: &Placed<'_>) {
        let account = &self.account;
        let (usage_date, settlement_date) =
            (placed.usage_date.date32(), placed.settlement_date.date32());
        // Labels and codes are the catalogue's, each of which stands at one place.
        let at = |label: Option<&'static str>| label.map(str::as_ptr);
        let same = |held: &Cow<'static, str>, label: &'static str| match held {
            Cow::Borrowed(held) => std::ptr::eq(*held, label) || *held == label,
            Cow::Owned(held) => held == label,
        };
        let is = |held: &Option<Cow<'static, str>>, label: Option<&'static str>| match (held, label)
        {
            (Some(held), Some(label)) => same(held, label),
            (held, label) => held.is_none() && label.is_none(),
        };
        let tag = placed.billing_tag.as_ptr() as u64;
        let channel = at(placed.channel).map_or(0, |channel| channel as u64);
        let class = self.classes.place(
            (usage_date as u64).wrapping_add(tag).wrapping_add(channel),
            &(
                usage_date,
                settlement_date,
                placed.billing_tag.as_ptr(),
                at(placed.product),
                at(placed.channel),
                at(placed.compare_source),
                placed.rule_id,
            ),
            |class| {
                class.usage_date == usage_date
                    && class.settlement_date == settlement_date
                    && same(&class.billing_tag, placed.billing_tag)
                    && is(&class.product, placed.product)
                    && is(&class.channel, placed.channel)
                    && is(&class.compare_source, placed.compare_source)
                    && class.rule_id.as_deref() == placed.rule_id
            },
            || Class {
                usage_date,
                settlement_date,
                account: account.clone(),
                billing_tag: placed.billing_tag.into(),
                billing_tag_code: placed.billing_tag_code.into(),
                product: placed.product.map(Cow::Borrowed),
                channel: placed.channel.map(Cow::Borrowed),
                compare_source: placed.compare_source.map(Cow::Borrowed),
                rule_id: placed.rule_id.map(Box::from),
            },
        );
        let said = self.said(attempt);
        let rows = &mut self.rows;
        rows.each.push(Row {
            rank_time: placed.rank_time,
            req_time: attempt.req_time,
            class,
            said,
            source_key: self.keys.len() as u32 - 1,
            source_record: record.number as u32,
            detail_index: attempt.index,
            detail_count: record.detail_count,
            sim_or_none: attempt.sim.unwrap_or(NO_SIM),
            flags: Flags::new(
                attempt.is_need_charge,
                placed.snapshot_final,
                record.fetched_at.is_some(),
            ),
        });
        rows.seq.push(Some(&attempt.seq));
        rows.request_id.push(record.request_id.as_deref());
        rows.biz_token.push(placed.biz_token);
        rows.idcard_hmac.push(placed.idcard_hmac);
        rows.name_hmac.push(placed.name_hmac);
    }

    /// The place of what the service says of an attempt.
    #[inline]
    fn said(&mut self, attempt: &Attempt<'_>) -> u32 {
        let (library, liveness_mode) = (attempt.compare_lib_type.as_deref(), attempt.liveness_mode);
        let Some(alike) = attempt.alike.number().map(NonZeroU64::get) else {
            return self.said_in_full(attempt);
        };
        let clue = alike << 16
            ^ library.map_or(0, |library| library.len() as u64 + 1) << 8
            ^ liveness_mode.map_or(0, |mode| mode as u64 & 0xFF);
        let latest = (mixed_top(clue) % ALIKE as u64) as usize;
        if let Some((number, place)) = self.alike.get(latest)
            && *number == alike
            && let said = &self.saids.values()[*place as usize]
            && said.liveness_mode == liveness_mode
            && said.compare_lib_type.as_deref() == library
        {
            return *place;
        }
        let place = self.said_in_full(attempt);
        self.alike.resize(ALIKE, (0, 0));
        self.alike[latest] = (alike, place);
        place
    }

    fn said_in_full(&mut self, attempt: &Attempt<'_>) -> u32 {
        let said = Said {
            errcode: attempt.errcode,
            livestatus: attempt.livestatus,
            comparestatus: attempt.comparestatus,
            errmsg: attempt.errmsg.as_deref(),
            livemsg: attempt.livemsg.as_deref(),
            comparemsg: attempt.comparemsg.as_deref(),
            compare_lib_type: attempt.compare_lib_type.as_deref(),
            liveness_mode: attempt.liveness_mode,
        };
        self.saids.place(said.clue(), &said, |held| said.is(held), || said.own())
    }

    pub fn finish(mut self) -> Rows {
        self.own.shrink();
        self.keys.shrink_to_fit();
        let texts = self.of_objects.unwrap_or_else(|| Arc::new(self.own));
        let mut rows = Rows {
            classes: self.classes.into_values(),
            saids: self.saids.into_values(),
            keys: Arc::new(Keys { texts: vec![texts], each: self.keys }),
            ..self.rows
        };
        // What grew by doubling would hold up to twice its size for as long as the run lasts.
        rows.each.shrink_to_fit();
        for ids in [&mut rows.seq, &mut rows.request_id, &mut rows.biz_token] {
            ids.shrink();
        }
        for ids in [&mut rows.idcard_hmac, &mut rows.name_hmac] {
            ids.shrink();
        }
        rows
    }

    /// The rows of a stored file's batch, whose usage day is `usage_date`, with the ranks they came in by.
    pub fn stored(
        batch: &RecordBatch,
        usage_date: i32,
        rank_time: &[i64],
    ) -> Result<Rows, ArrowError> {
        let column = |name: &str| batch.column(LIVENESS_DETAIL.position(name)).clone();
        // Texts of few values, and the place of each row's.
        let words = |name: &str| -> Result<Words, ArrowError> {
            let column = column(name);
            let words = cast(&column, &dictionary_type())?;
            let words = words.as_dictionary::<Int32Type>();
            Ok(Words { places: words.clone(), texts: words.values().as_string::<i32>().clone() })
        };
        let account = words("account")?;
        let [billing_tag, billing_tag_code] = [words("billing_tag")?, words("billing_tag_code")?];
        let [product, channel] = [words("product")?, words("channel")?];
        let compare_source = words("compare_source")?;
        let compare_lib_type = words("compare_lib_type")?;
        let [errmsg, livemsg, comparemsg] =
            [words("errmsg")?, words("livemsg")?, words("comparemsg")?];
        let source_key = words("source_key")?;
        let settlement_date = column("settlement_date");
        let settlement_date = settlement_date.as_primitive::<Date32Type>();
        let rule_id = column("rule_id");
        let rule_id = rule_id.as_string::<i32>();
        let ints = ["errcode", "livestatus", "comparestatus"].map(column);
        let [errcode, livestatus, comparestatus] =
            ints.each_ref().map(|ints| ints.as_primitive::<Int32Type>());
        let liveness_mode = column("liveness_mode");
        let liveness_mode = liveness_mode.as_primitive::<Int8Type>();
        let bools = ["is_need_charge", "snapshot_final"].map(column);
        let [is_need_charge, snapshot_final] = bools.each_ref().map(|b| b.as_boolean());
        let sim = column("sim");
        let sim = sim.as_primitive::<Decimal128Type>();
        let fetched_at = column("fetched_at");
        let earlier = stored_pulls(batch);
        let int = |array: &arrow::array::Int32Array, row: usize| {
            array.is_valid(row).then(|| array.value(row))
        };
        let bool = |array: &arrow::array::BooleanArray, row: usize| {
            array.is_valid(row).then(|| array.value(row))
        };
        let label = |text: Option<&str>| text.map(|text| Cow::Owned(text.to_owned()));

        let mut builder = RowsBuilder::default();
        // The dictionary may be that of a row group, of which these rows are a part.
        let (mut keys, mut place_of_key) = (Texts::default(), vec![NONE; source_key.texts.len()]);
        let req_time = column("req_time");
        let req_time = req_time.as_primitive::<TimestampMillisecondType>();
        let source_record = column("source_record");
        let source_record = source_record.as_primitive::<Int64Type>();
        let places = ["detail_index", "detail_count"].map(column);
        let [detail_index, detail_count] =
            places.each_ref().map(|places| places.as_primitive::<Int32Type>());
        debug_assert_eq!(rank_time.len(), batch.num_rows());
        for (row, rank_time) in rank_time.iter().enumerate() {
            let settlement = settlement_date.value(row);
            let rule = rule_id.is_valid(row).then(|| rule_id.value(row));
            let named =
                [&account, &billing_tag, &billing_tag_code, &product, &channel, &compare_source]
                    .map(|words| words.at(row));
            let [account, tag, code, product, channel, compare] = named;
            let class = builder.classes.place(
                tag.map_or(0, |tag| tag.len() as u64),
                &(settlement, named, rule),
                |class| {
                    class.settlement_date == settlement
                        && Some(&*class.account) == account
                        && Some(&*class.billing_tag) == tag
                        && Some(&*class.billing_tag_code) == code
                        && class.product.as_deref() == product
                        && class.channel.as_deref() == channel
                        && class.compare_source.as_deref() == compare
                        && class.rule_id.as_deref() == rule
                },
                || Class {
                    usage_date,
                    settlement_date: settlement,
                    account: account.unwrap_or_default().into(),
                    billing_tag: tag.unwrap_or_default().to_owned().into(),
                    billing_tag_code: code.unwrap_or_default().to_owned().into(),
                    product: label(product),
                    channel: label(channel),
                    compare_source: label(compare),
                    rule_id: rule.map(Box::from),
                },
            );
            let said = Said {
                errcode: int(errcode, row),
                livestatus: int(livestatus, row),
                comparestatus: int(comparestatus, row),
                errmsg: errmsg.at(row),
                livemsg: livemsg.at(row),
                comparemsg: comparemsg.at(row),
                compare_lib_type: compare_lib_type.at(row),
                liveness_mode: liveness_mode.is_valid(row).then(|| liveness_mode.value(row)),
            };
            let said = builder.saids.place(said.clue(), &said, |held| said.is(held), || said.own());
            let hundredths = sim.is_valid(row).then(|| sim.value(row) as i32);
            let key = source_key.places.keys().value(row) as usize;
            if place_of_key[key] == NONE {
                place_of_key[key] = keys.len() as u32;
                keys.push(source_key.texts.value(key));
            }
            builder.rows.each.push(Row {
                rank_time: *rank_time,
                req_time: req_time.value(row),
                class,
                said,
                source_key: place_of_key[key],
                source_record: source_record.value(row) as u32,
                detail_index: detail_index.value(row),
                detail_count: detail_count.value(row),
                sim_or_none: hundredths.unwrap_or(NO_SIM),
                flags: Flags::new(
                    bool(is_need_charge, row),
                    bool(snapshot_final, row),
                    fetched_at.is_valid(row),
                ),
            });
        }
        builder.rows.stored = true;
        let ids = |name: &str| {
            let mut ids = Ids::default();
            column(name).as_string::<i32>().iter().for_each(|id| ids.push(id));
            ids
        };
        builder.rows = Rows {
            seq: ids("seq"),
            request_id: ids("request_id"),
            biz_token: ids("biz_token"),
            idcard_hmac: ids("idcard_hmac"),
            name_hmac: ids("name_hmac"),
            earlier,
            ..builder.rows
        };
        keys.shrink();
        Ok(Rows { keys: Arc::new(Keys::stored(keys)), ..builder.finish() })
    }
}

/// The earlier pulls of stored rows; empty where there are none.
fn stored_pulls(batch: &RecordBatch) -> Vec<Box<[Pull]>> {
    let lists = batch.column(LIVENESS_DETAIL.position("earlier_pulls")).as_list::<i32>();
    match lists.null_count() == lists.len() {
        true => Vec::new(),
        false => {
            let pulls = Pulls::of(lists);
            (0..lists.len()).map(|row| pulls.of_row(row).collect()).collect()
        }
    }
}

/// The column `earlier_pulls`.
pub struct Pulls<'b> {
    lists: &'b ListArray,
    fetched_at: &'b PrimitiveArray<TimestampMillisecondType>,
    is_need_charge: &'b BooleanArray,
    snapshot_final: &'b BooleanArray,
    errcode: &'b PrimitiveArray<Int32Type>,
}

impl<'b> Pulls<'b> {
    pub fn of(lists: &'b ListArray) -> Pulls<'b> {
        let parts = lists.values().as_struct().columns();
        Pulls {
            lists,
            fetched_at: parts[0].as_primitive(),
            is_need_charge: parts[1].as_boolean(),
            snapshot_final: parts[2].as_boolean(),
            errcode: parts[3].as_primitive(),
        }
    }

    pub fn of_row(&self, row: usize) -> impl DoubleEndedIterator<Item = Pull> {
        let offsets = self.lists.value_offsets();
        let places = match self.lists.is_valid(row) {
            true => offsets[row] as usize..offsets[row + 1] as usize,
            false => 0..0,
        };
        let flag = |flags: &BooleanArray, at| flags.is_valid(at).then(|| flags.value(at));
        places.map(move |at| Pull {
            fetched_at: self.fetched_at.value(at),
            answer: Answer {
                is_need_charge: flag(self.is_need_charge, at),
                snapshot_final: flag(self.snapshot_final, at),
                errcode: self.errcode.is_valid(at).then(|| self.errcode.value(at)),
            },
        })
    }

    /// The column of these lists, a row each; null for an empty one.
    pub fn column<'p>(
        rows: impl ExactSizeIterator<Item = &'p [Pull]>,
    ) -> Result<ArrayRef, ArrowError> {
        let field = schema::pull_field();
        if rows.len() == 0 {
            return Ok(new_empty_array(&DataType::List(field)));
        }
        let (mut pulls, mut lens) = (Vec::new(), Vec::with_capacity(rows.len()));
        for row in rows {
            pulls.extend_from_slice(row);
            lens.push(row.len());
        }
        if pulls.is_empty() {
            return Ok(new_null_array(&DataType::List(field), lens.len()));
        }
        let DataType::Struct(parts) = field.data_type() else {
            return Err(ArrowError::SchemaError("a pull is a struct".into()));
        };
        let times: TimestampMillisecondArray =
            PrimitiveArray::from_iter_values(pulls.iter().map(|p| p.fetched_at));
        let flags = |flag: fn(&Answer) -> Option<bool>| {
            Arc::new(pulls.iter().map(|p| flag(&p.answer)).collect::<BooleanArray>())
        };
        let codes: Int32Array = pulls.iter().map(|p| p.answer.errcode).collect();
        let parts = StructArray::try_new(
            parts.clone(),
            vec![
                Arc::new(times.with_timezone("UTC")),
                flags(|answer| answer.is_need_charge),
                flags(|answer| answer.snapshot_final),
                Arc::new(codes),
            ],
            None,
        )?;
        let nulls = NullBuffer::from_iter(lens.iter().map(|len| *len > 0));
        let offsets = OffsetBuffer::from_lengths(lens);
        Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(parts), Some(nulls))?))
    }
}

struct Words {
    places: arrow::array::DictionaryArray<Int32Type>,
    texts: StringArray,
}

impl Words {
    fn at(&self, row: usize) -> Option<&str> {
        self.places.is_valid(row).then(|| self.texts.value(self.places.keys().value(row) as usize))
    }
}

fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}
