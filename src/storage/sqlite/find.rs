//! Reading: a query as one statement that walks one index.

use std::fmt::Write as _;

use rusqlite::types::Value as SqlValue;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde_json::Value;
use steward_actors::store::{Collection, Cursor, Order, Page, Query, Record, StoreError, words};

use super::schema::{column, index_name, primary_index_name, quoted, words_index_name, words_table};

/// As long as a word asked for begins no more words than this, the records that have it are looked
/// up and sorted; otherwise the index is walked and each record checked.
const FEW: i64 = 1000;

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
    let driver = rarest_word(connection, query).map_err(unavailable)?;
    let statement = statement(query, driver);
    let mut prepared = connection.prepare_cached(&statement.sql).map_err(unavailable)?;
    let rows = prepared.query_map(params_from_iter(statement.parameters), raw).map_err(unavailable)?;
    let mut found = Vec::new();
    for row in rows {
        found.push(record(query.collection, row.map_err(unavailable)?)?);
    }
    Ok(query.page(found))
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

/// The number of the word asked for that begins the fewest words, if those are few.
fn rarest_word(connection: &Connection, query: &Query) -> rusqlite::Result<Option<usize>> {
    let mut rarest = None;
    for (number, word) in query.words.iter().enumerate() {
        let mut statement = Statement { sql: String::new(), parameters: Vec::new() };
        let bounds = begins_with(&mut statement, word);
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

/// The statement for a query. With a `driver`, the number of one of its words, the records that
/// have it are looked up and sorted; without one the query's index is walked.
pub(super) fn statement(query: &Query, driver: Option<usize>) -> Statement {
    let collection = query.collection;
    let index = match (collection.index(query.index), driver) {
        (Some(index), None) => index_name(collection, index),
        _ => primary_index_name(collection),
    };
    let sql = format!(
        "SELECT id, version, body FROM {} AS t INDEXED BY {}",
        quoted(collection.name),
        quoted(&index)
    );
    let mut statement = Statement { sql, parameters: Vec::new() };
    fixed_and_present(&mut statement, query);
    bounded(&mut statement, query);
    if let Some(after) = &query.after {
        behind(&mut statement, query, after);
    }
    having_words(&mut statement, query, driver);
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

fn having_words(statement: &mut Statement, query: &Query, driver: Option<usize>) {
    let words = quoted(&words_table(query.collection));
    for (number, word) in query.words.iter().enumerate() {
        let bounds = begins_with(statement, word);
        let condition = if driver == Some(number) {
            format!("id IN (SELECT w.id FROM {words} AS w WHERE {bounds})")
        } else {
            format!("EXISTS (SELECT 1 FROM {words} AS w WHERE w.id = t.id AND {bounds})")
        };
        statement.and(&condition);
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
