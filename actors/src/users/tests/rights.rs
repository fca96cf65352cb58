//! Who may change whom, and what happens when two do at once.

use std::collections::BTreeSet;

use futures_util::future::join;

use super::*;
use crate::audit::{AUDIT, AuditEntry, By};
use crate::session::LocalInvalidations;
use crate::store::{Query, find};
use crate::users::roles::Roles;

fn another(user: &User) -> Editor {
    Editor::Another(by(user))
}

fn by(user: &User) -> By {
    By::user(&user.id, None, None)
}

fn roles_of(names: &[&str]) -> Edit {
    Edit { roles: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..Edit::default() }
}

impl World {
    fn roles(&self) -> Roles {
        Roles::new(self.store.clone(), self.clock.clone(), Arc::new(LocalInvalidations::default()))
    }

    async fn admin(&self) -> User {
        let email = Email::parse("admin@example.org").unwrap();
        match self.users.ensure_admin(email, password()).await.unwrap() {
            FirstAdmin::Made(admin) => *admin,
            FirstAdmin::Exists => panic!("there was an admin"),
        }
    }

    async fn holding(&self, email: &str, admin: &User, roles: &[&str]) -> User {
        let made = self.users.register(named(email)).await.unwrap().value;
        self.users.edit(&made.id, &another(admin), &roles_of(roles), None).await.unwrap().value
    }

    async fn user(&self, id: &str) -> User {
        self.users.get(id).await.unwrap().unwrap().value
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn of_two_admins_who_demote_disable_or_delete_each_other_one_stays() {
    for way in 0..3 {
        let world = world();
        let a = world.admin().await;
        let b = world.holding("b@example.org", &a, &["admin"]).await;
        let take = async |from: &User, by: &User| match way {
            0 => world.users.edit(&from.id, &another(by), &roles_of(&["customer"]), None).await.map(|_| ()),
            1 => {
                let shut_out = Edit { disabled: Some(true), ..Edit::default() };
                world.users.edit(&from.id, &another(by), &shut_out, None).await.map(|_| ())
            }
            _ => world.users.delete(&from.id, &another(by), None).await,
        };
        let (first, second) = join(take(&a, &b), take(&b, &a)).await;
        assert!(first.is_ok() != second.is_ok(), "{way}: {first:?} {second:?}");
        let refused = first.err().or(second.err()).unwrap();
        assert!(matches!(refused, ChangeError::LastAdmin | ChangeError::Lacks(_)), "{way}: {refused:?}");
    }
}

#[tokio::test]
async fn two_admins_who_step_down_at_once_leave_one() {
    // Each acts on themselves, so nothing but their being the last stands in the way.
    let world = world();
    let a = world.admin().await;
    let b = world.holding("b@example.org", &a, &["admin"]).await;
    let down = roles_of(&["customer"]);
    let (first, second) = join(
        world.users.edit(&a.id, &another(&a), &down, None),
        world.users.edit(&b.id, &another(&b), &down, None),
    )
    .await;
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    assert_eq!(first.err().or(second.err()), Some(ChangeError::LastAdmin));
}

#[tokio::test]
async fn rights_are_those_of_the_store_when_it_commits() {
    let world = world();
    let admin = world.admin().await;
    world.roles().set(&by(&admin), "clerk", set(&["users:write"])).await.unwrap();
    let clerk = world.holding("clerk@example.org", &admin, &["clerk"]).await;
    let target = world.users.register(named("t@example.org")).await.unwrap().value;
    let rename = Edit { name: Some(name("Renamed")), ..Edit::default() };
    world.users.edit(&target.id, &another(&clerk), &rename, None).await.unwrap();
    // Whoever was disabled meanwhile may nothing more, whatever a session remembers.
    let shut_out = Edit { disabled: Some(true), ..Edit::default() };
    world.users.edit(&clerk.id, &another(&admin), &shut_out, None).await.unwrap();
    let again = Edit { name: Some(name("Again")), ..Edit::default() };
    let refused = world.users.edit(&target.id, &another(&clerk), &again, None).await;
    assert_eq!(refused.unwrap_err(), ChangeError::Lacks("users:write".to_owned()));
    assert_eq!(world.user(&target.id).await.name, "Renamed");
}

#[tokio::test]
async fn disabling_ends_sessions_and_enabling_does_not_bring_them_back() {
    let world = world();
    let admin = world.admin().await;
    let target = world.users.register(named("t@example.org")).await.unwrap().value;
    let shut = |disabled| Edit { disabled: Some(disabled), ..Edit::default() };
    let disabled = world.users.edit(&target.id, &another(&admin), &shut(true), None).await.unwrap().value;
    assert_eq!(disabled.credentials_version, target.credentials_version + 1);
    let enabled = world.users.edit(&target.id, &another(&admin), &shut(false), None).await.unwrap().value;
    assert_eq!(enabled.credentials_version, disabled.credentials_version);
}

#[tokio::test]
async fn a_role_is_changed_only_by_who_holds_all_of_it_before_and_after() {
    let world = world();
    let admin = world.admin().await;
    let roles = world.roles();
    roles.set(&by(&admin), "clerk", set(&["roles:write", "users:read"])).await.unwrap();
    roles.set(&by(&admin), "keeper", set(&["catalog:write"])).await.unwrap();
    let clerk = world.holding("clerk@example.org", &admin, &["clerk"]).await;
    for (role, permissions) in
        [("clerk", set(&["catalog:write"])), ("keeper", set(&[])), ("new", set(&["admin:read"]))]
    {
        let refused = roles.set(&by(&clerk), role, permissions).await;
        assert!(matches!(refused, Err(ChangeError::Lacks(_))), "{role}: {refused:?}");
    }
    roles.set(&by(&clerk), "reader", set(&["users:read"])).await.unwrap();
    assert_eq!(roles.set(&by(&admin), "admin", set(&[])).await, Err(ChangeError::Fixed));
    let listed: Vec<String> = roles.list().await.unwrap().into_iter().map(|role| role.name).collect();
    assert_eq!(listed, ["admin", "clerk", "customer", "keeper", "reader", "support"]);
}

#[tokio::test]
async fn acts_on_others_are_in_the_audit_log_once_and_say_nothing_of_the_person() {
    let world = world();
    let admin = world.admin().await;
    let target = world.users.register(named("t@example.org")).await.unwrap().value;
    let edit = Edit { email: Some(Email::parse("secret@example.org").unwrap()), ..Edit::default() };
    world.store.fail_commits([CommitFault::LostAfter]);
    world.users.edit(&target.id, &another(&admin), &edit, None).await.unwrap();
    world
        .users
        .edit(&target.id, &Editor::Oneself(None), &Edit { name: Some(name("T")), ..Edit::default() }, None)
        .await
        .unwrap();
    let query = Query::by(&AUDIT, "target").equal(format!("user/{}", target.id));
    let (entries, _) = find::<AuditEntry>(world.store.as_ref(), query).await.unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].value.act(), entries[0].value.actor()), ("user.edit", admin.id.as_str()));
    assert!(!format!("{:?}", entries[0]).contains("secret@"));
}

#[tokio::test]
async fn whoever_runs_the_installation_makes_admins_and_takes_all_but_the_last() {
    let world = world();
    let operator = By::command_line("host:1");
    let made = world.users.create_admin(&operator, named("first@example.org")).await.unwrap().value;
    assert!(made.is_acting_admin());
    let again = world.users.create_admin(&operator, named("FIRST@example.org")).await;
    assert_eq!(again.unwrap_err(), RegisterError::EmailTaken);
    let set = async |id: &str, roles: &[&str]| {
        world.users.edit(id, &Editor::Operator(operator.clone()), &roles_of(roles), None).await
    };
    assert_eq!(set(&made.id, &["customer"]).await.unwrap_err(), ChangeError::LastAdmin);
    assert_eq!(
        set(&made.id, &["nothing"]).await.unwrap_err(),
        ChangeError::UnknownRole("nothing".to_owned())
    );
    let other = world.users.register(named("o@example.org")).await.unwrap().value;
    assert_eq!(set(&other.id, &["admin", "support"]).await.unwrap().value.roles, ["admin", "support"]);
    assert!(set(&made.id, &[]).await.unwrap().value.roles.is_empty());
    let query = Query::by(&AUDIT, "actor").equal("command-line");
    let (entries, _) = find::<AuditEntry>(world.store.as_ref(), query).await.unwrap();
    assert_eq!(entries.len(), 3, "{entries:?}");
}
