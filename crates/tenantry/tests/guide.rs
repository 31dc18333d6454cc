//! The program of the guide. Each of its regions, in their order, is a block of docs/guide.md, to the letter.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

// guide: begin
use tenantry::{Aggregation, Code, Condition, Date, Decimal, Isolation, Measure, PrimaryKey, Query};
use tenantry::{Record, SchemaDefinition, Tenant, TenantTransaction, Timestamp, Uuid, Value};

#[derive(Record, Clone, Debug, PartialEq)]
struct Account {
    #[record(primary_key, pattern = "[a-z][a-z0-9-]*")]
    id: String,
    #[record(default = "free")]
    plan: Plan,
}

#[derive(Value, Clone, Copy, Debug, PartialEq)]
enum Plan {
    Free,
    Paid,
}

#[derive(Record, Clone, Debug, PartialEq)]
#[record(index(by_email, fields = ["lower(email)"], unique))]
struct User {
    #[record(primary_key, default = { uuid = true })]
    id: Uuid,
    #[record(index, reference(to = Account, on_delete = "cascade"))]
    account: String,
    #[record(min_length = 1)]
    name: String,
    #[record(pattern = "[^@ ]+@[^@ ]+")]
    email: String,
}

#[derive(Record, Clone, Debug, PartialEq)]
struct Project {
    #[record(primary_key)]
    id: String,
    #[record(index, reference(to = Account, on_delete = "cascade"))]
    account: String,
    #[record(min = "0")]
    budget: Option<Decimal>,
}
// guide: end

// guide: begin
#[derive(Record, Clone, Debug, PartialEq)]
#[record(
    primary_key = ["project", "number"],
    index(board, fields = ["project", "status", "due"], covering = ["title"]),
    index(open_by_due, fields = ["due"], where = "status == \"open\""),
    index(per_status, kind = "count", group = ["project", "status"]),
    index(points, kind = "sum", group = ["project", "status"], of = "points"),
    index(largest, kind = "rank", group = ["project"], fields = ["points:desc"]),
)]
struct Task {
    #[record(reference(to = Project, on_delete = "cascade"))]
    project: String,
    number: i64,
    #[record(max_length = 200, index(words, kind = "text", language = "english"))]
    title: String,
    #[record(default = "open")]
    status: Status,
    #[record(index, reference(to = User, on_delete = "set_null"))]
    assignee: Option<Uuid>,
    #[record(max = 100)]
    points: u8,
    due: Option<Date>,
}

#[derive(Value, Clone, Copy, Debug, PartialEq)]
enum Status {
    Open,
    Done,
}

#[derive(Record, Clone, Debug, PartialEq)]
#[record(
    index(by_task, fields = ["project", "task", "written"]),
    reference(task, fields = ["project", "task"], to = Task, on_delete = "cascade"),
)]
struct Comment {
    #[record(primary_key, default = { uuid = true })]
    id: Uuid,
    project: String,
    task: i64,
    #[record(index, reference(to = User, on_delete = "set_null"))]
    author: Option<Uuid>,
    text: String,
    #[record(default = { now = true })]
    written: Timestamp,
}

#[derive(Record, Clone, Debug, PartialEq)]
struct Invitation {
    #[record(primary_key)]
    email: String,
    #[record(index, reference(to = Account, on_delete = "cascade"))]
    account: String,
    #[record(default = { now = true }, index(expiry, kind = "time_to_live", after_s = 604_800))]
    sent: Timestamp,
}
// guide: end

fn schema() -> tenantry::Result<SchemaDefinition> {
    // guide: begin
    let schema = SchemaDefinition::builder("desk").with::<Account>().with::<User>().with::<Project>();
    let schema = schema.with::<Task>().with::<Comment>().with::<Invitation>().finish()?;
    // guide: end
    Ok(schema)
}

async fn program() -> tenantry::Result<()> {
    let schema = schema()?;
    // guide: begin
    let database = tenantry::open("memory:").await?;
    database.apply_schema(&schema).await?;
    let acme = database.create_tenant("acme", "desk").await?;
    let bell = database.create_tenant("bell", "desk").await?;
    // guide: end

    // guide: begin
    let (accounts, users) = (acme.records::<Account>(), acme.records::<User>());
    accounts.insert(&Account { id: "design".to_owned(), plan: Plan::Paid }).await?;
    let user = |name: &str, email: &str| User {
        id: acme.new_id(),
        account: "design".to_owned(),
        name: name.to_owned(),
        email: email.to_owned(),
    };
    let (ann, bob) = (user("Ann", "ann@acme.example"), user("Bob", "bob@acme.example"));
    users.insert(&ann).await?;
    users.insert(&bob).await?;
    assert_eq!(users.get(&ann.id).await?, Some(ann));
    assert_eq!((users.count().await?, bell.records::<User>().count().await?), (2, 0));
    // guide: end

    // guide: begin
    let error = users.insert(&user("Twin", "Ann@ACME.example")).await.unwrap_err();
    assert_eq!(error.code(), Code::UniqueViolation);

    let error = users.insert(&user("", "nobody")).await.unwrap_err();
    let fields: Vec<&str> = error.violations().iter().map(|violation| &*violation.field).collect();
    assert_eq!((error.code(), fields), (Code::ConstraintViolated, vec!["name", "email"]));

    let stranger = User { account: "nowhere".to_owned(), ..user("Eve", "eve@acme.example") };
    let error = users.insert(&stranger).await.unwrap_err();
    assert_eq!(error.code(), Code::ReferenceNotFound);
    // guide: end

    // guide: begin
    async fn add_task(tenant: &Tenant, title: &str, points: u8, due: Option<Date>) -> tenantry::Result<i64> {
        tenant
            .run(|transaction| async move {
                let (project, title) = ("website".to_owned(), title.to_owned());
                let number = transaction.next_in_sequence("website tasks").await?;
                let task = Task { project, number, title, status: Status::Open, assignee: None, points, due };
                transaction.records().insert(&task).await?;
                transaction.add_to_counter("tasks created", 1)?;
                Ok(number)
            })
            .await
    }
    // guide: end

    // guide: begin
    let budget = Some(Decimal::from(12_500));
    let website = Project { id: "website".to_owned(), account: "design".to_owned(), budget };
    acme.records().insert(&website).await?;
    assert_eq!(add_task(&acme, "Choose the fonts", 3, Some(Date::constant(2026, 3, 9))).await?, 1);
    assert_eq!(add_task(&acme, "Draw the first pages", 8, Some(Date::constant(2026, 3, 6))).await?, 2);
    assert_eq!(add_task(&acme, "Write what pages say", 5, None).await?, 3);
    // guide: end

    // guide: begin
    let failed = acme.run(|transaction| async move {
        transaction.add_to_counter("tasks created", 1)?;
        transaction.records::<Task>().update(&("website".to_owned(), 99), |_| Ok(())).await
    });
    assert_eq!(failed.await.unwrap_err().code(), Code::RecordNotFound);
    let created = acme.read(|transaction| async move {
        transaction.set_isolation(Isolation::Snapshot);
        transaction.counter("tasks created").await
    });
    assert_eq!(created.await?, 3);
    // guide: end

    // guide: begin
    let tasks = acme.records::<Task>();
    let key = ("website".to_owned(), 1);
    let assign = |task: &mut Task| {
        task.assignee = Some(bob.id);
        Ok(())
    };
    assert_eq!(tasks.update(&key, assign).await?.assignee, Some(bob.id));

    // Ann and Bob have the task on their screens.
    let seen = tasks.get_versioned(&key).await?.unwrap();
    let unchanged = Condition::HasVersion(seen.version.unwrap());
    let hers = Task { status: Status::Done, ..seen.record.clone() };
    let his = Task { points: 13, ..seen.record };
    tasks.put_if(&hers, unchanged).await?;
    let error = tasks.put_if(&his, unchanged).await.unwrap_err();
    assert_eq!(error.code(), Code::ConditionFailed);
    // guide: end

    // guide: begin
    let (id, project, author) = (acme.new_id(), "website".to_owned(), Some(bob.id));
    let comment =
        &Comment { id, project, task: 2, author, text: "Larger, please".to_owned(), written: acme.now() };
    for is_repeated in [false, true] {
        let body = |transaction: TenantTransaction| async move {
            transaction.records().insert(comment).await?;
            transaction.next_in_sequence("comments").await
        };
        let done = acme.run_idempotent(b"request 5f0c", comment.text.as_bytes(), body).await?;
        assert_eq!((done.value, done.is_repeated), (1, is_repeated));
    }
    // guide: end

    // guide: begin
    let newest = Query::all::<Task>().filter("project == \"website\"").order_by_descending("number");
    let mut query = newest.rows_max(2);
    let mut pages = Vec::new();
    loop {
        let page = tasks.query(&query).await?;
        pages.push(page.records.iter().map(|task| task.number).collect::<Vec<_>>());
        let Some(token) = page.next else { break };
        query = query.after(token);
    }
    assert_eq!(pages, [vec![3, 2], vec![1]]);
    // guide: end

    // guide: begin
    let board = Query::all::<Task>().filter("project == param.project && status == \"open\"");
    let board = board.parameter("project", "website").order_by("due").select(["title", "due"]);
    let page = acme.query(&board).await?;
    let titles: Vec<_> = page.records.iter().filter_map(|record| record.get("title")).collect();
    assert_eq!(titles, [&Value::from("Write what pages say"), &Value::from("Draw the first pages")]);
    assert!(page.explanation.to_string().starts_with("index board, "), "{}", page.explanation);
    assert!(page.explanation.paths[0].is_covering);

    let late = Query::all::<Task>().filter("status == \"open\" && due < date(\"2026-03-08\")");
    let page = tasks.query(&late).await?;
    assert_eq!(page.explanation.index.as_deref(), Some("open_by_due"));
    assert_eq!(page.records[0].title, "Draw the first pages");
    // guide: end

    // guide: begin
    let per_status = Aggregation::all::<Task>().filter("project == \"website\"").group_by("status");
    let per_status = per_status.measure(Measure::Count).measure(Measure::sum("points"));
    let found = tasks.aggregate(&per_status).await?;
    assert_eq!(found.indexes, ["per_status", "points"]);
    assert_eq!(found.groups[0].key, [Some(Value::Enum("open".into()))]);
    assert_eq!(found.groups[0].measures, [Some(Value::Int(2)), Some(Value::Int(13))]);
    // guide: end

    // guide: begin
    let search = Query::all::<Task>().filter("matches(title, \"page\", \"english\")");
    let page = tasks.query(&search).await?;
    assert_eq!((page.explanation.index.as_deref(), page.records.len()), (Some("words"), 2));

    let first = acme.at_rank("task", "largest", &[Some("website".into())], 0).await?.unwrap();
    assert_eq!(first.get("points"), Some(&Value::Int(8)));
    let key = PrimaryKey { values: vec!["website".into(), 1.into()] };
    assert_eq!(acme.rank_of("task", "largest", &key).await?, Some(2));
    // guide: end

    // guide: begin
    let comments = acme.records::<Comment>();
    users.delete(&bob.id).await?;
    assert_eq!(comments.get(&id).await?.unwrap().author, None);

    accounts.delete("design").await?;
    assert_eq!((users.count().await?, tasks.count().await?, comments.count().await?), (0, 0, 0));
    // guide: end

    // guide: begin
    accounts.insert(&Account { id: "sales".to_owned(), plan: Plan::Free }).await?;
    let invitations = acme.records::<Invitation>();
    for (email, sent) in [("old@acme.example", Timestamp::UNIX_EPOCH), ("new@acme.example", acme.now())] {
        invitations
            .insert(&Invitation { email: email.to_owned(), account: "sales".to_owned(), sent })
            .await?;
    }
    assert_eq!(acme.expire().await?.expired, 1);
    assert!(invitations.exists("new@acme.example").await?);
    // guide: end
    Ok(())
}

const GUIDE: &str = include_str!("../../../docs/guide.md");

/// The blocks of the guide whose fence has this word.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        let Some(word) = line.trim_start().strip_prefix("```") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "```").collect();
        if word == language {
            blocks.push(block.join("\n"));
        }
        assert!(["rust", "toml", "sh", "text"].contains(&word), "nothing tests a block of {word:?}");
    }
    blocks
}

/// The regions of this file, each without the indentation of its first line.
fn regions() -> Vec<String> {
    let mut regions = Vec::new();
    let mut lines = include_str!("guide.rs").lines();
    while let Some(line) = lines.next() {
        let Some(indentation) = line.strip_suffix("// guide: begin") else { continue };
        let region: Vec<&str> = lines
            .by_ref()
            .take_while(|line| line.trim() != "// guide: end")
            .map(|line| line.strip_prefix(indentation).unwrap_or(line))
            .collect();
        regions.push(region.join("\n"));
    }
    regions
}

#[test]
fn the_program_runs() {
    tenantry::block_on(program()).unwrap();
}

#[test]
fn every_block_of_the_guide_is_a_region_of_the_program() {
    let (blocks, regions) = (blocks("rust"), regions());
    for (block, region) in blocks.iter().zip(&regions) {
        assert_eq!(block, region, "left is the guide, right this file");
    }
    assert_eq!((blocks.len(), regions.len()), (17, 17));
}

#[test]
fn the_toml_of_the_guide_is_the_schema_of_the_structs() {
    let [toml] = &blocks("toml")[..] else { unreachable!("one schema") };
    let (file, structs) = (SchemaDefinition::from_toml(toml).unwrap(), schema().unwrap());
    assert_eq!(file.to_json(), structs.to_json());
    assert_eq!(file, structs);
}
