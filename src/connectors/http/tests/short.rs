//! Short forms: each stands for the same file written out.

use super::*;

fn parse(text: &str) -> HttpConnectorFile {
    HttpConnectorFile::parse("crm.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn problems(text: &str) -> String {
    HttpConnectorFile::parse("crm.toml", text).unwrap_err().lines.join("\n")
}

const HEAD: &str = "name = 'crm'\nauth = { kind = 'bearer' }\n";

#[track_caller]
fn assert_same(short: &str, long: &str) {
    assert_eq!(parse(&format!("{HEAD}{short}")), parse(&format!("{HEAD}{long}")), "{short}\n{long}");
}

/// A resource as it is written out.
const LONG: &str = "\
[object.contacts]
list = { get = '/v1/contacts', records = 'results' }
find = { get = '/v1/contacts', params = { email = 'email' } }
read = { get = '/v1/contacts/{id}', missing = [403, 404] }
create = { post = '/v1/contacts' }
update = { patch = '/v1/contacts/{id}' }
delete = { delete = '/v1/contacts/{id}' }
";

#[test]
fn a_path_stands_for_the_requests_of_a_resource() {
    let short = "[object.contacts]\npath = '/v1/{object}'\nlist.records = 'results'\n\
                 find.params = { email = 'email' }\nread.missing = [403, 404]\n";
    assert_same(short, LONG);
    // A search is one only where it is said by what.
    let without = short.replace("find.params = { email = 'email' }\n", "");
    assert!(parse(&format!("{HEAD}{without}")).object(&"contacts".into()).unwrap().find.is_none());
}

#[test]
fn what_is_said_stands_for_what_a_path_brings() {
    assert_same(
        "[object.contacts]\npath = '/c'\ndelete = false\nread_many = false\nupdate = { put = '{path}/{id}/set' }\n\
         list = { post = '{path}/all', body = { a = 1 } }\n",
        "[object.contacts]\nlist = { post = '/c/all', body = { a = 1 } }\nread = { get = '/c/{id}' }\n\
         create = { post = '/c' }\nupdate = { put = '/c/{id}/set' }\n",
    );
}

#[test]
fn an_object_is_like_another_but_for_what_it_says() {
    let contacts = "[object.contacts]\npath = '/{object}'\nid = 'key'\nread_only = ['a']\n\
                    list = { records = 'rows', query = { sort = 'id' } }\nfind = { encode = 'json', params = { email = 'email' } }\n";
    let companies = "[object.companies]\npath = '/companies'\nid = 'key'\nread_only = ['b']\n\
                     list = { records = 'all', query = { sort = 'id' } }\nfind = { encode = 'json', params = { code = 'code' } }\n";
    let like = "[object.companies]\nlike = 'contacts'\nread_only = ['b']\nlist.records = 'all'\nfind.params = { code = 'code' }\n";
    assert_same(&format!("{contacts}{like}"), &format!("{contacts}{companies}"));
    // Whichever stands first.
    assert_same(&format!("{like}{contacts}"), &format!("{contacts}{companies}"));
}

#[test]
fn a_batch_says_once_how_its_results_are_written() {
    assert_same(
        "[object.c]\npath = '/c'\n[object.c.batch]\nrecords = 'inputs'\nresults = 'results'\nerror = 'error'\n\
         item = { id = '{id}', p = '{record.p}' }\ncreate.post = '{path}/make'\n\
         update = { post = '{path}/set', results = 'done' }\ndelete = { post = '{path}/drop', whole = true }\n",
        "[object.c]\npath = '/c'\n[object.c.batch]\nkind = 'records'\n\
         create = { post = '/c/make', records = 'inputs', item = { id = '{id}', p = '{record.p}' }, results = 'results', error = 'error' }\n\
         update = { post = '/c/set', records = 'inputs', item = { id = '{id}', p = '{record.p}' }, results = 'done', error = 'error' }\n\
         delete = { post = '/c/drop', records = 'inputs', item = { id = '{id}', p = '{record.p}' }, whole = true }\n",
    );
    assert_same(
        "[object.c]\npath = '/c'\nbatch = { post = '/batch', by = 'id' }\n",
        "[object.c]\npath = '/c'\nbatch = { kind = 'requests', post = '/batch', by = 'id' }\n",
    );
}

#[test]
fn a_condition_is_said_once() {
    assert_same(
        "[object.c]\npath = '/c'\nversion = 'v'\nif_match = '\"{version}\"'\nupdate.makes_missing = true\ndelete.if_match = false\n",
        "[object.c]\npath = '/c'\nversion = 'v'\nupdate = { if_match = '\"{version}\"', makes_missing = true }\n",
    );
}

#[test]
fn a_list_is_followed_as_its_changes_where_its_records_tell_the_time() {
    let changes = "changes = { get = '/c/changed', cursor = { kind = 'time', param = 'since', order = 'asc' } }\n";
    let parsed = parse(&format!("{HEAD}[object.c]\npath = '/c'\nmodified = 'at'\n{changes}"));
    let list = parsed.object(&"c".into()).unwrap().list.as_ref().unwrap();
    let Some(spec::CursorSpec { kind: spec::CursorKind::Ordered(ordered), .. }) = &list.cursor else { panic!() };
    assert!(!ordered.from_clock && !ordered.ascending);
}

#[test]
fn a_word_says_where_credentials_go() {
    let object = "[object.c]\npath = '/c'\n";
    for word in ["none", "bearer", "basic"] {
        let long = format!("name = 'crm'\nauth = {{ kind = '{word}' }}\n{object}");
        assert_eq!(parse(&format!("name = 'crm'\nauth = '{word}'\n{object}")), parse(&long));
    }
    let told = problems(&format!("name = 'crm'\nauth = 'header'\n{object}"));
    assert!(told.contains("auth = { kind = \"header\", name"), "{told}");
}

#[test]
fn mistakes_in_short_forms_are_told_once_with_the_way_out() {
    for (lines, want) in [
        ("[object.c]\npath = 'c'", "a path begins with '/'"),
        ("[object.c]\npath = '/c/{id}'", "'path' is that of all records"),
        ("[object.c]\npath = '/{objct}'", "known: {id}, {external_id}, {parent}, {path}, {object}"),
        ("[object.c]\nlist.get = '{path}/x'", "add path = \"/contacts\" to the object"),
        ("[object.c]\npath = '/c'\ndelete = true", "'delete' must be a table, or false"),
        ("[object.c]\npath = '/c'\nlist = false", "[object.c.list] is missing"),
        ("[object.c]\npath = '/c'\nfind.encode = 'json'", "'params' is missing in [object.c.find]"),
        ("[object.c]\npath = '/c'\n[object.d]\nlike = 'cc'", "did you mean 'c'?"),
        ("[object.c]\npath = '/c'\n[object.d]\nlike = 'd'", "that 'like' can name"),
        (
            "[object.c]\npath = '/c'\n[object.d]\nlike = 'c'\n[object.e]\nlike = 'd'",
            "'d' is no object that 'like' can name",
        ),
        ("[object.c]\npath = '/c'\nid_typ = 'text'\n[object.d]\nlike = 'c'", "unknown key 'id_typ' in [object.c]"),
        ("[object.c]\npath = '/c'\nupdate.makes_missing = true", "needs 'if_match'"),
    ] {
        let told = problems(&format!("{HEAD}{lines}\n"));
        assert!(told.contains(want), "{lines}\nwanted {want}\n{told}");
        assert_eq!(told.lines().count(), 1, "{lines}\n{told}");
    }
}
