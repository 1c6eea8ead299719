//! The connections of a kernel as triggers see them, from any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use dashmap::DashMap;

use crate::model::ids::{ConnNo, ConnectionId, ObjectName, Scope};
use crate::model::side::PerSide;

/// What triggers need to know of a connection.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its number in the store.
    pub conn: ConnNo,
    /// Which of your app's records it touches.
    pub scope: Option<Scope>,
    /// The objects of its syncs.
    pub objects: PerSide<BTreeSet<ObjectName>>,
    /// Deliveries remembered since the start.
    pub(super) remembered: Arc<AtomicU64>,
}

impl Known {
    /// What is known of a connection that was just added.
    #[must_use]
    pub fn new(conn: ConnNo, scope: Option<Scope>, objects: PerSide<BTreeSet<ObjectName>>) -> Self {
        Self { conn, scope, objects, remembered: Arc::default() }
    }
}

/// The objects of your app that the connections of a scope keep.
type Claims = BTreeMap<ConnectionId, BTreeSet<ObjectName>>;

/// All connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct KnownConnections {
    by_id: Arc<DashMap<ConnectionId, Known>>,
    by_scope: Arc<DashMap<Option<Scope>, Claims>>,
}

impl KnownConnections {
    /// Takes objects of your app within a scope for a connection: two connections must not
    /// share your app's records, as one customer's would reach another's app.
    ///
    /// # Errors
    /// With the connection that has one of them.
    pub fn claim(
        &self,
        id: &ConnectionId,
        scope: Option<&Scope>,
        objects: &BTreeSet<ObjectName>,
    ) -> Result<(), ConnectionId> {
        let mut claims = self.by_scope.entry(scope.cloned()).or_default();
        match claims.iter().find(|(other, theirs)| *other != id && !theirs.is_disjoint(objects)) {
            Some((other, _)) => Err(other.clone()),
            None => {
                claims.insert(id.clone(), objects.clone());
                Ok(())
            }
        }
    }

    /// Gives them back.
    pub fn release(&self, id: &ConnectionId, scope: Option<&Scope>) {
        let key = scope.cloned();
        if let Some(mut claims) = self.by_scope.get_mut(&key) {
            claims.remove(id);
        }
        self.by_scope.remove_if(&key, |_, claims| claims.is_empty());
    }

    /// Makes a connection known, or what has changed about it.
    pub fn insert(&self, id: ConnectionId, known: Known) {
        self.by_id.insert(id, known);
    }

    /// Forgets a connection and what it has claimed.
    pub fn remove(&self, id: &ConnectionId) {
        if let Some((_, known)) = self.by_id.remove(id) {
            self.release(id, known.scope.as_ref());
        }
    }

    /// A connection, if there is one of that name.
    #[must_use]
    pub fn get(&self, id: &ConnectionId) -> Option<Known> {
        self.by_id.get(id).map(|known| known.clone())
    }

    /// Whether there is a connection of that name.
    #[must_use]
    pub fn contains(&self, id: &ConnectionId) -> bool {
        self.by_id.contains_key(id)
    }

    /// All of them, by name.
    #[must_use]
    pub fn ids(&self) -> Vec<ConnectionId> {
        let mut ids: Vec<ConnectionId> = self.by_id.iter().map(|known| known.key().clone()).collect();
        ids.sort();
        ids
    }

    /// Those of a scope, by name.
    #[must_use]
    pub fn of_scope(&self, scope: &Scope) -> Vec<ConnectionId> {
        let claims = self.by_scope.get(&Some(scope.clone()));
        let ids = claims.iter().flat_map(|claims| claims.keys());
        ids.filter(|id| self.contains(id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(names: &[&str]) -> BTreeSet<ObjectName> {
        names.iter().copied().map(ObjectName::from).collect()
    }

    #[test]
    fn records_belong_to_one_connection() {
        let known = KnownConnections::default();
        let claim = |id: &str, scope: Option<&str>, names: &[&str]| {
            known.claim(&id.into(), scope.map(Scope::from).as_ref(), &objects(names))
        };
        assert_eq!(claim("a", None, &["contacts", "deals"]), Ok(()));
        assert_eq!(claim("b", None, &["notes"]), Ok(()));
        assert_eq!(claim("c", None, &["notes", "contacts"]), Err("a".into()));
        assert_eq!(claim("c", Some("s"), &["contacts"]), Ok(()));
        assert_eq!(claim("a", None, &["contacts", "notes"]), Err("b".into()), "what it had stays its own");
        assert_eq!(claim("d", None, &["deals"]), Err("a".into()));
        known.insert("a".into(), Known::new(ConnNo(1), None, PerSide::default()));
        known.remove(&"a".into());
        assert_eq!(claim("d", None, &["deals"]), Ok(()));
        known.release(&"d".into(), None);
        known.release(&"b".into(), None);
        known.release(&"b".into(), None);
        assert_eq!(known.by_scope.len(), 1, "an empty scope takes no room");
        assert!(known.of_scope(&"s".into()).is_empty(), "one that is not known yet gets nothing");
        known.insert("c".into(), Known::new(ConnNo(2), Some("s".into()), PerSide::default()));
        assert_eq!(known.of_scope(&"s".into()), ["c".into()]);
    }
}
