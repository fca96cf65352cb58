//! Fills a store with orders that have ended: copies of those that were really placed, with all
//! that belongs to them, inserted in bulk.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;

use crate::Failure;
use crate::raw::Raw;

/// Orders that are copied.
const TEMPLATES: i64 = 50;
/// Orders whose copies are inserted at once.
const AT_ONCE: usize = 500;
/// What belongs to an order.
const PARTS: [&str; 4] = ["orders", "order_events", "holds", "movements"];

/// How the order's part of a collection is found.
fn of_order(collection: &str, id: &str) -> Document {
    match collection {
        "order_events" => doc! { "_id": { "$gte": format!("{id}:"), "$lt": format!("{id};") } },
        "movements" => doc! { "reference": id },
        _ => doc! { "_id": id },
    }
}

/// Inserts `count` orders that have ended; how many it were.
pub async fn fill(raw: &Raw, count: usize) -> Result<usize, Failure> {
    if count == 0 {
        return Ok(0);
    }
    let orders = raw.database.collection::<Document>("orders");
    let found = orders.find(doc! { "status": "confirmed" }).limit(TEMPLATES).await?;
    let orders: Vec<Document> = found.try_collect().await?;
    let mut templates = Vec::new();
    for order in &orders {
        let id = order.get_str("_id")?.to_owned();
        let mut parts = Vec::new();
        for collection in PARTS {
            let found =
                raw.database.collection::<Document>(collection).find(of_order(collection, &id)).await?;
            parts.push(found.try_collect::<Vec<Document>>().await?);
        }
        templates.push((id, parts));
    }
    if templates.is_empty() {
        return Err("no order was confirmed".into());
    }
    let mut made = 0;
    while made < count {
        let mut copies: [Vec<Document>; PARTS.len()] = Default::default();
        for n in made..count.min(made + AT_ONCE) {
            let (id, parts) = &templates[n % templates.len()];
            let new = uuid::Uuid::now_v7().to_string();
            for (to, part) in copies.iter_mut().zip(parts) {
                to.extend(part.iter().map(|document| copy(document, id, &new)));
            }
        }
        for (collection, documents) in PARTS.iter().zip(copies) {
            if !documents.is_empty() {
                raw.database.collection::<Document>(collection).insert_many(documents).await?;
            }
        }
        made = count.min(made + AT_ONCE);
    }
    raw.flush().await?;
    Ok(made)
}

/// The document with another order's id wherever this one's is.
fn copy(document: &Document, id: &str, new: &str) -> Document {
    let mut copy: Document =
        document.iter().map(|(name, value)| (name.clone(), renamed(value, id, new))).collect();
    // The client's key is unique, and has no order's id in it.
    if copy.contains_key("commandKey") {
        copy.insert("commandKey", format!("copy:{new}"));
    }
    copy
}

fn renamed(value: &Bson, id: &str, new: &str) -> Bson {
    match value {
        Bson::String(text) => Bson::String(text.replace(id, new)),
        Bson::Array(items) => Bson::Array(items.iter().map(|item| renamed(item, id, new)).collect()),
        Bson::Document(inside) => Bson::Document(
            inside.iter().map(|(name, value)| (name.clone(), renamed(value, id, new))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_its_own_ids_everywhere() {
        let order =
            doc! { "_id": "o1", "commandKey": "u:k", "lines": [{ "note": "of o1" }], "version": 3_i64 };
        let copied = copy(&order, "o1", "o2");
        let expected =
            doc! { "_id": "o2", "commandKey": "copy:o2", "lines": [{ "note": "of o2" }], "version": 3_i64 };
        assert_eq!(copied, expected);
    }
}
