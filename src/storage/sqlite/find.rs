//! Reading: a query as one statement that walks one index.

use std::fmt::Write as _;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::Value;
use steward_actors::store::{
    Collection, Cursor, MOST_TALLIED, Order, Page, Query, Record, StoreError, Tally, words,
};

use super::schema::{column, index_name, primary_index_name, quoted, words_index_name, words_table};

/// As long as no more entries of the index of words fit a term than this, the records that have it
/// are looked up and sorted; otherwise the query's index is walked and each record checked.
const FEW: i64 = 1000;
/// With more labels than this in a group, a record's own entries are run through rather than each
/// label looked up.
const MANY: usize = 8;

/// What one entry of a record in the index of words must be.
enum Term<'a> {
    /// Begins so.
    Prefix(&'a str),
    /// One of these labels.
    AnyOf(&'a [String]),
}

fn terms(query: &Query) -> impl Iterator<Item = Term<'_>> {
    let words = query.words.iter().map(|word| Term::Prefix(word));
    words.chain(query.labels.iter().map(|labels| Term::AnyOf(labels)))
}

/// A statement and what is bound to it.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) parameters: Vec<SqlValue>,
}

impl Statement {
    fn bind(&mut self, value: impl Into<SqlValue>) -> String {
        self.parameters.push(value.into());
        format!("?{}", self.parameters.len())
    }

    fn and(&mut self, condition: &str) {
        self.sql.push_str(if self.sql.contains(" WHERE ") { " AND " } else { " WHERE " });
        self.sql.push_str(condition);
    }
}

/// Those of the records that exist.
pub(super) fn get_many(
    connection: &Connection,
    collection: &'static Collection,
    ids: &[String],
) -> Result<Vec<Record>, StoreError> {
    let sql = format!("SELECT id, version, body FROM {} WHERE id = ?1", quoted(collection.name));
    let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement.query_row([id], raw).optional().map_err(unavailable)?;
        found.extend(row.map(|row| record(collection, row)).transpose()?);
    }
    Ok(found)
}

/// A page.
pub(super) fn find(connection: &Connection, query: &Query) -> Result<Page, StoreError> {
    let driver = rarest_term(connection, query).map_err(unavailable)?;
    let statement = statement(query, driver);
    let mut prepared = connection.prepare_cached(&statement.sql).map_err(unavailable)?;
    let rows = prepared.query_map(params_from_iter(statement.parameters), raw).map_err(unavailable)?;
    let mut found = Vec::new();
    for row in rows {
        found.push(record(query.collection, row.map_err(unavailable)?)?);
    }
    Ok(query.page(found))
}

/// How often labels that begin with `prefix` occur among the first records of the query.
pub(super) fn tally(connection: &Connection, query: &Query, prefix: &str) -> Result<Tally, StoreError> {
    let driver = rarest_term(connection, query).map_err(unavailable)?;
    let most = query.limit as u64;
    let one_more = count(statement(query, driver));
    let mut prepared = connection.prepare_cached(&one_more.sql).map_err(unavailable)?;
    let found: u64 = prepared
        .query_row(params_from_iter(one_more.parameters), |row| row.get::<_, i64>(0))
        .map_err(unavailable)?
        .try_into()
        .unwrap_or(0);
    if !query.collection.is_searched() {
        return Ok(Tally { labels: Vec::new(), counted: found.min(most), complete: found <= most });
    }
    let statement = tally_statement(query, driver, prefix);
    let mut prepared = connection.prepare_cached(&statement.sql).map_err(unavailable)?;
    let rows = prepared.query_map(params_from_iter(statement.parameters), |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
    });
    let mut labels = Vec::new();
    for row in rows.map_err(unavailable)? {
        let (label, count) = row.map_err(unavailable)?;
        let label = label.strip_prefix(words::LABEL).unwrap_or(&label).to_owned();
        labels.push((label, u64::try_from(count).unwrap_or(0)));
    }
    Ok(Tally { labels, counted: found.min(most), complete: found <= most })
}

fn count(mut statement: Statement) -> Statement {
    statement.sql = format!("SELECT count(*) FROM ({})", statement.sql.replacen(COLUMNS, "id", 1));
    statement
}

/// The statement that counts labels: the records first, in the order of the query's index.
pub(super) fn tally_statement(query: &Query, driver: Option<usize>, prefix: &str) -> Statement {
    let mut statement = statement(&Query { limit: query.limit.saturating_sub(1), ..query.clone() }, driver);
    let records = statement.sql.replacen(COLUMNS, "id", 1);
    let bounds = begins_with(&mut statement, &words::of_label(prefix));
    let most = statement.bind(i64::try_from(MOST_TALLIED).unwrap_or(i64::MAX));
    let words = quoted(&words_table(query.collection));
    statement.sql = format!(
        "SELECT w.word, count(*) AS n FROM ({records}) AS r CROSS JOIN {words} AS w
         WHERE w.id = r.id AND {bounds} GROUP BY w.word ORDER BY n DESC, w.word LIMIT {most}"
    );
    statement
}

type Raw = (String, i64, String);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn record(collection: &'static Collection, (id, version, body): Raw) -> Result<Record, StoreError> {
    match (serde_json::from_str(&body), u64::try_from(version)) {
        (Ok(body), Ok(version)) => Ok(Record { id, version, body }),
        (Err(error), _) => {
            Err(StoreError::Corrupt { collection: collection.name, id, reason: error.to_string() })
        }
        (_, Err(_)) => {
            let reason = format!("version {version}");
            Err(StoreError::Corrupt { collection: collection.name, id, reason })
        }
    }
}

fn unavailable(error: rusqlite::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

/// The number of the term that the fewest entries fit, if those are few.
fn rarest_term(connection: &Connection, query: &Query) -> rusqlite::Result<Option<usize>> {
    let mut rarest = None;
    for (number, term) in terms(query).enumerate() {
        let mut statement = Statement { sql: String::new(), parameters: Vec::new() };
        let bounds = fits(&mut statement, &term, "");
        statement.sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} INDEXED BY {} WHERE {bounds} LIMIT {})",
            quoted(&words_table(query.collection)),
            quoted(&words_index_name(query.collection)),
            FEW + 1
        );
        let mut prepared = connection.prepare_cached(&statement.sql)?;
        let count = prepared.query_row(params_from_iter(statement.parameters), |row| row.get::<_, i64>(0))?;
        if count <= FEW && rarest.is_none_or(|(fewest, _)| count < fewest) {
            rarest = Some((count, number));
        }
    }
    Ok(rarest.map(|(_, number)| number))
}

/// What a page's statement begins by asking for.
const COLUMNS: &str = "id, version, body";

/// The statement for a query. With a `driver`, the number of one of its terms, the records that
/// have it are looked up and sorted; without one the query's index is walked.
pub(super) fn statement(query: &Query, driver: Option<usize>) -> Statement {
    let collection = query.collection;
    let index = match (collection.index(query.index), driver) {
        (Some(index), None) => index_name(collection, index),
        _ => primary_index_name(collection),
    };
    let sql = format!("SELECT {COLUMNS} FROM {} AS t INDEXED BY {}", quoted(collection.name), quoted(&index));
    let mut statement = Statement { sql, parameters: Vec::new() };
    fixed_and_present(&mut statement, query);
    bounded(&mut statement, query);
    if let Some(after) = &query.after {
        behind(&mut statement, query, after);
    }
    having_terms(&mut statement, query, driver);
    sorted(&mut statement, query);
    statement
}

fn is_unique(query: &Query) -> bool {
    query.collection.index(query.index).is_some_and(|index| index.unique)
}

/// That no field is null is part of each index's definition; SQLite wants to read it again before
/// it uses the index.
fn fixed_and_present(statement: &mut Statement, query: &Query) {
    for (field, value) in query.fields().iter().zip(&query.equal) {
        let parameter = statement.bind(sql_value(value));
        statement.and(&format!("{} = {parameter}", column(field)));
    }
    for field in query.sort_fields() {
        statement.and(&format!("{} IS NOT NULL", column(field)));
    }
}

fn bounded(statement: &mut Statement, query: &Query) {
    let Some(range) = &query.range else { return };
    let bounded = query.sort_fields().first().map_or_else(|| "id".to_owned(), |field| column(field));
    // Where a cursor bounds the index on the same side, it does so more tightly. The plus keeps
    // SQLite from choosing the looser bound.
    let by_cursor = |order: Order| if query.after.is_some() && query.order == order { "+" } else { "" };
    if let Some(from) = &range.from {
        let parameter = statement.bind(sql_value(from));
        statement.and(&format!("{}{bounded} >= {parameter}", by_cursor(Order::Ascending)));
    }
    if let Some(until) = &range.until {
        let parameter = statement.bind(sql_value(until));
        statement.and(&format!("{}{bounded} < {parameter}", by_cursor(Order::Descending)));
    }
}

fn behind(statement: &mut Statement, query: &Query, after: &Cursor) {
    let beyond = match query.order {
        Order::Ascending => ">",
        Order::Descending => "<",
    };
    let columns: Vec<String> =
        query.sort_fields().iter().zip(&after.keys).map(|(field, _)| column(field)).collect();
    let mut parameters: Vec<String> =
        after.keys.iter().take(columns.len()).map(|key| statement.bind(sql_value(key))).collect();
    let id = statement.bind(after.id.clone());
    let row = |parts: &[String], last: &str| {
        let parts: Vec<&str> =
            parts.iter().map(String::as_str).chain((!last.is_empty()).then_some(last)).collect();
        format!("({})", parts.join(", "))
    };
    if !is_unique(query) || columns.is_empty() {
        statement.and(&format!("{} {beyond} {}", row(&columns, "id"), row(&parameters, &id)));
        return;
    }
    // A unique index does not hold the id. It is bounded by what it holds; the record that has
    // taken over the cursor's key, if there is one, is checked by itself.
    statement.and(&format!("{} {beyond}= {}", row(&columns, ""), row(&parameters, "")));
    parameters.push(id);
    let unindexed: Vec<String> = columns.iter().map(|column| format!("+{column}")).collect();
    statement.and(&format!("{} {beyond} {}", row(&unindexed, "id"), row(&parameters, "")));
}

fn having_terms(statement: &mut Statement, query: &Query, driver: Option<usize>) {
    let words = quoted(&words_table(query.collection));
    for (number, term) in terms(query).enumerate() {
        let condition = if driver == Some(number) {
            let bounds = fits(statement, &term, "");
            format!("id IN (SELECT w.id FROM {words} AS w WHERE {bounds})")
        } else {
            let many = matches!(term, Term::AnyOf(labels) if labels.len() > MANY);
            let bounds = fits(statement, &term, if many { "+" } else { "" });
            format!("EXISTS (SELECT 1 FROM {words} AS w WHERE w.id = t.id AND {bounds})")
        };
        statement.and(&condition);
    }
}

/// That an entry fits. With the `plus` of SQLite, no index is used for it.
fn fits(statement: &mut Statement, term: &Term<'_>, plus: &str) -> String {
    match term {
        Term::Prefix(prefix) => begins_with(statement, prefix),
        Term::AnyOf([label]) => format!("{plus}word = {}", statement.bind(words::of_label(label))),
        Term::AnyOf(labels) => {
            let labels: Vec<String> =
                labels.iter().map(|label| statement.bind(words::of_label(label))).collect();
            format!("{plus}word IN ({})", labels.join(", "))
        }
    }
}

fn begins_with(statement: &mut Statement, prefix: &str) -> String {
    let mut bounds = format!("word >= {}", statement.bind(prefix.to_owned()));
    if let Some(end) = words::prefix_end(prefix) {
        // Writing to a string cannot fail.
        let _ = write!(bounds, " AND word < {}", statement.bind(end));
    }
    bounds
}

fn sorted(statement: &mut Statement, query: &Query) {
    let mut keys: Vec<String> = query.sort_fields().iter().map(|field| column(field)).collect();
    if !is_unique(query) {
        keys.push("id".to_owned());
    }
    if !keys.is_empty() {
        let direction = match query.order {
            Order::Ascending => "",
            Order::Descending => " DESC",
        };
        let keys: Vec<String> = keys.iter().map(|key| format!("{key}{direction}")).collect();
        statement.sql.push_str(" ORDER BY ");
        statement.sql.push_str(&keys.join(", "));
    }
    let limit = statement.bind(i64::try_from(query.limit + 1).unwrap_or(i64::MAX));
    statement.sql.push_str(" LIMIT ");
    statement.sql.push_str(&limit);
}

/// A value as SQLite extracts it from a body. What no index can hold becomes null, which is equal
/// to nothing.
fn sql_value(value: &Value) -> SqlValue {
    match value {
        Value::String(text) => SqlValue::Text(text.clone()),
        Value::Bool(flag) => SqlValue::Integer(i64::from(*flag)),
        Value::Number(number) => match number.as_i64() {
            Some(number) => SqlValue::Integer(number),
            None => number.as_f64().map_or(SqlValue::Null, SqlValue::Real),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => SqlValue::Null,
    }
}
