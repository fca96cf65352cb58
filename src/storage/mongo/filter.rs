//! A query of the port as a `find` of MongoDB.
//!
//! Who calls it: the adapter's reads. Pure. Values only ever stand behind an operator of ours
//! (`$eq`, `$gt`, …), so no value, whatever its shape, is read as an operator.

use bson::{Bson, Document, doc};
use serde_json::Value;
use steward_actors::store::{MOST_TALLIED, Order, PRIMARY, Query, Tally, words};

use super::document::{ID, WORDS, field_value};

/// What is sent.
#[derive(Debug, PartialEq)]
pub(super) struct Find {
    pub(super) filter: Document,
    pub(super) sort: Document,
    /// The index to use. With words or labels among all records it is left to the planner, which
    /// tries whether these or the order narrow the search more.
    pub(super) hint: Option<&'static str>,
    /// One more than the page holds, to see whether there is a next one.
    pub(super) limit: i64,
}

/// The `find` that answers `query`.
pub(super) fn find(query: &Query) -> Find {
    let common = conditions(query);
    let branches: Vec<Vec<Document>> = match &query.after {
        None => vec![Vec::new()],
        Some(after) => {
            let keys = query.sort_fields().iter().zip(&after.keys);
            let mut keys: Vec<(&str, Bson)> =
                keys.map(|(field, key)| (*field, field_value(query.collection, field, key))).collect();
            keys.push((ID, Bson::String(after.id.clone())));
            behind(&keys, query.order)
        }
    };
    // Each branch repeats the common conditions, so that each is one scan of the index and the
    // planner merges the branches in order instead of sorting.
    let mut branches: Vec<Document> =
        branches.into_iter().map(|own| all(common.iter().cloned().chain(own).collect())).collect();
    let filter = match branches.len() {
        1 => branches.remove(0),
        _ => doc! { "$or": branches },
    };
    let limit = i64::try_from(query.limit.clamp(1, 1000)).unwrap_or(1000) + 1;
    Find { filter, sort: sort(query), hint: hint(query), limit }
}

/// The pipeline that counts labels beginning with `prefix`; its one document goes to [`tallied`].
pub(super) fn tally(query: &Query, prefix: &str) -> Vec<Document> {
    let Find { filter, sort, limit, .. } = find(query);
    let prefix = words::of_label(prefix);
    let mut labels = doc! { "$gte": &prefix };
    if let Some(end) = words::prefix_end(&prefix) {
        labels.insert("$lt", end);
    }
    let most = i64::try_from(MOST_TALLIED).unwrap_or(i64::MAX);
    let mut pipeline = vec![doc! { "$match": filter }];
    if !sort.is_empty() {
        pipeline.push(doc! { "$sort": sort });
    }
    pipeline.extend([
        doc! { "$limit": limit },
        doc! { "$project": { WORDS: 1 } },
        doc! { "$facet": {
            "records": [{ "$count": "n" }],
            "labels": [
                // The last one only tells that there is more.
                { "$limit": limit - 1 },
                { "$unwind": format!("${WORDS}") },
                { "$match": { WORDS: labels } },
                { "$group": { "_id": format!("${WORDS}"), "n": { "$sum": 1_i64 } } },
                { "$sort": { "n": -1, "_id": 1 } },
                { "$limit": most },
            ],
        } },
    ]);
    pipeline
}

/// What the pipeline of [`tally`] counted, of at most `most` records; `None` if that is not
/// readable.
pub(super) fn tallied(answer: &Document, most: usize) -> Option<Tally> {
    let number = |document: &Document| match document.get("n") {
        Some(Bson::Int32(n)) => u64::try_from(*n).ok(),
        Some(Bson::Int64(n)) => u64::try_from(*n).ok(),
        _ => None,
    };
    let found = match answer.get_array("records").ok()?.first() {
        Some(records) => number(records.as_document()?)?,
        None => 0,
    };
    let label = |counted: &Bson| {
        let counted = counted.as_document()?;
        Some((counted.get_str(ID).ok()?.strip_prefix(words::LABEL)?.to_owned(), number(counted)?))
    };
    let labels = answer.get_array("labels").ok()?.iter().map(label).collect::<Option<_>>()?;
    let most = most as u64;
    Some(Tally { labels, counted: found.min(most), complete: found <= most })
}

fn hint(query: &Query) -> Option<&'static str> {
    let name = if query.index == PRIMARY { "_id_" } else { query.index };
    (!query.is_search() || !query.collection.is_searched_as_a_whole()).then_some(name)
}

/// Equality, presence of optional fields (which the partial indexes ask for), range and words.
fn conditions(query: &Query) -> Vec<Document> {
    let collection = query.collection;
    let mut conditions = Vec::new();
    for (field, value) in query.fields().iter().zip(&query.equal) {
        conditions.push(doc! { *field: { "$eq": field_value(collection, field, value) } });
    }
    for field in query.fields() {
        if !collection.field(field).is_some_and(|field| field.required) {
            conditions.push(doc! { *field: { "$exists": true } });
        }
    }
    if let Some(range) = &query.range {
        let field = query.sort_fields().first().copied().unwrap_or(ID);
        let bound = |value: &Value| field_value(collection, field, value);
        if let Some(from) = &range.from {
            conditions.push(doc! { field: { "$gte": bound(from) } });
        }
        if let Some(until) = &range.until {
            conditions.push(doc! { field: { "$lt": bound(until) } });
        }
    }
    for prefix in &query.words {
        let mut bounds = doc! { "$gte": prefix };
        if let Some(end) = words::prefix_end(prefix) {
            bounds.insert("$lt", end);
        }
        // One and the same word must be within both bounds.
        conditions.push(doc! { WORDS: { "$elemMatch": bounds } });
    }
    for any_of in &query.labels {
        let labels: Vec<String> = any_of.iter().map(|label| words::of_label(label)).collect();
        conditions.push(doc! { WORDS: { "$in": labels } });
    }
    conditions
}

/// What comes behind these keys: later in the first; or equal in that and later in the second; …
fn behind(keys: &[(&str, Bson)], order: Order) -> Vec<Vec<Document>> {
    let operator = match order {
        Order::Ascending => "$gt",
        Order::Descending => "$lt",
    };
    keys.iter()
        .enumerate()
        .map(|(position, (field, key))| {
            let equal = keys[..position].iter().map(|(field, key)| doc! { *field: { "$eq": key.clone() } });
            equal.chain([doc! { *field: { operator: key.clone() } }]).collect()
        })
        .collect()
}

fn all(mut conditions: Vec<Document>) -> Document {
    match conditions.len() {
        0 => doc! {},
        1 => conditions.remove(0),
        _ => doc! { "$and": conditions },
    }
}

fn sort(query: &Query) -> Document {
    let direction = match query.order {
        Order::Ascending => 1,
        Order::Descending => -1,
    };
    let mut sort: Document =
        query.sort_fields().iter().map(|field| ((*field).to_owned(), Bson::Int32(direction))).collect();
    // No two records have the same place in a unique index, and it doesn't hold the id.
    if !query.collection.index(query.index).is_some_and(|index| index.unique) {
        sort.insert(ID, direction);
    }
    sort
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use steward_actors::store::{Collection, Cursor, Field, Index, Kind};

    static THINGS: Collection = Collection {
        name: "things",
        fields: &[
            Field::required("owner", Kind::Text),
            Field::optional("at", Kind::Time),
            Field::optional("email", Kind::Text),
        ],
        indexes: &[Index::by("owner_at", &["owner", "at"]), Index::unique("email", &["email"])],
        words: &["email"],
        expires: None,
    };

    fn date(millis: i64) -> Bson {
        Bson::DateTime(bson::DateTime::from_millis(millis))
    }

    #[test]
    fn a_page_continues_behind_its_cursor() {
        let after = Cursor { keys: vec![json!(7)], id: "x".to_owned() };
        let query = Query::by(&THINGS, "owner_at").equal("ann").after(Some(after)).descending().limit(5);
        let owner = doc! { "owner": { "$eq": "ann" } };
        let present = doc! { "at": { "$exists": true } };
        let expected = Find {
            filter: doc! { "$or": [
                { "$and": [owner.clone(), present.clone(), { "at": { "$lt": date(7) } }] },
                { "$and": [owner, present, { "at": { "$eq": date(7) } }, { "_id": { "$lt": "x" } }] },
            ] },
            sort: doc! { "at": -1, "_id": -1 },
            hint: Some("owner_at"),
            limit: 6,
        };
        assert_eq!(find(&query), expected);
    }

    #[test]
    fn a_value_is_never_an_operator() {
        let evil = json!({"$ne": null});
        let after = Cursor { keys: vec![evil.clone()], id: "x".to_owned() };
        let query = Query::by(&THINGS, "owner_at").equal(evil.clone()).after(Some(after));
        let text = find(&query).filter.to_string();
        assert!(!text.contains("\"$ne\""), "{text}");
    }

    static NOTES: Collection = Collection {
        name: "notes",
        fields: &[Field::required("owner", Kind::Text), Field::required("text", Kind::Text)],
        indexes: &[Index::by("owner", &["owner"]).narrow()],
        words: &["text"],
        expires: None,
    };

    #[test]
    fn words_are_looked_for_along_a_narrow_index() {
        let searched = find(&Query::by(&NOTES, "owner").equal("ann").words("blu"));
        assert_eq!(searched.hint, Some("owner"));
    }

    #[test]
    fn a_unique_index_sorts_without_the_id_and_words_leave_the_choice_of_index_open() {
        let by_email = find(&Query::by(&THINGS, "email"));
        assert_eq!((by_email.sort, by_email.hint), (doc! { "email": 1 }, Some("email")));
        let searched = find(&Query::by(&THINGS, PRIMARY).words("blu"));
        assert_eq!((searched.sort, searched.hint), (doc! { "_id": 1 }, None));
        assert_eq!(searched.filter, doc! { "_words": { "$elemMatch": { "$gte": "blu", "$lt": "blv" } } });
    }
}
