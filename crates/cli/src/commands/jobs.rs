//! `tenantry jobs`, and what every command does that works as a job.

use std::str::FromStr;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use tenantry::Database;
use tenantry::jobs::{Count, Job, JobFilter, JobId, JobKind, JobKinds, JobState, Rewrite, Worked, Worker};

use super::{Target, moment, open_existing};
use crate::arguments::{JobArguments, JobsCommand};
use crate::output::{Exit, Failure, Outcome, Printer, count, visible};

/// How long a watch waits before it looks again, and a worker that has nothing to do.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) async fn run(command: JobsCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        JobsCommand::List { tenant, state, limit, after } => {
            let mut filter = JobFilter::all();
            filter.tenant = tenant;
            filter.state = state.map(|state| state_of(&state)).transpose()?;
            let after = after.as_deref().map(JobId::from_str).transpose()?;
            list(&database, &filter, after, limit as usize, printer).await
        }
        JobsCommand::Show { id } => {
            let job = database.job(id.parse()?).await?;
            print_job(&job, printer)?;
            Ok(Exit::Done)
        }
        JobsCommand::Watch { id } => watch(&database, id.parse()?, printer).await,
        JobsCommand::Cancel { id } => {
            let job = database.cancel_job(id.parse()?).await?;
            printer.document(&document(&job), || match job.state {
                JobState::Cancelled => format!("job {id} cancelled"),
                _ => format!("job {id} is cancelled at its next step"),
            })?;
            Ok(Exit::Done)
        }
        JobsCommand::Run { until_idle, lease, pause } => {
            let worker = Worker::new(&database, JobKinds::standard())
                .with_lease(Duration::from_secs(u64::from(lease)));
            work(worker, until_idle, Duration::from_millis(u64::from(pause)), printer).await
        }
    }
}

/// `tenantry count`.
pub(crate) async fn count_records(arguments: JobArguments, target: &Target, printer: Printer) -> Outcome {
    let parameters = Count::parameters(&arguments.record_type);
    on_records(&Count, parameters, arguments, target, printer, |job| {
        let result = job.result.clone().unwrap_or_default();
        format!("{} records at version {}", count(result["count"].as_u64().unwrap_or(0)), result["version"])
    })
    .await
}

/// `tenantry rewrite`.
pub(crate) async fn rewrite(arguments: JobArguments, target: &Target, printer: Printer) -> Outcome {
    let parameters = Rewrite::parameters(&arguments.record_type);
    on_records(&Rewrite, parameters, arguments, target, printer, |job| {
        let result = job.result.clone().unwrap_or_default();
        let number = |name: &str| count(result[name].as_u64().unwrap_or(0));
        format!("{} records looked at, {} of them written again", number("records"), number("rewritten"))
    })
    .await
}

/// Creates a job on the records of a type, and works on it unless somebody else is to.
async fn on_records(
    kind: &dyn JobKind,
    parameters: Json,
    arguments: JobArguments,
    target: &Target,
    printer: Printer,
    summary: impl FnOnce(&Job) -> String,
) -> Outcome {
    let database = open_existing(target).await?;
    let tenant = database.tenant(&arguments.tenant).await?;
    // A type that does not exist is refused before there is a job.
    tenant.schema().await?.definition.record_type(&arguments.record_type)?;
    let id = database.create_job(kind, Some(&tenant), &parameters).await?;
    match arguments.background {
        true => in_background(&database, id, printer).await,
        false => in_foreground(&database, id, printer, summary).await,
    }
}

/// Leaves a job to whoever runs `tenantry jobs run`.
pub(crate) async fn in_background(database: &Database, id: JobId, printer: Printer) -> Outcome {
    let job = database.job(id).await?;
    printer.document(&document(&job), || {
        format!("job {id} waits for a worker: tenantry jobs run --until-idle")
    })?;
    Ok(Exit::Done)
}

/// Works on a job until it has ended, with its progress on a terminal.
pub(crate) async fn in_foreground(
    database: &Database,
    id: JobId,
    printer: Printer,
    summary: impl FnOnce(&Job) -> String,
) -> Outcome {
    let job = run_to_end(database, id, printer).await?;
    let exit = exit_of(&job)?;
    printer.document(&document(&job), || match job.state {
        JobState::Done => summary(&job),
        _ => one_line(&job),
    })?;
    Ok(exit)
}

/// Works on a job until it is done, and prints nothing but its progress. One that was cancelled is given back as it is.
pub(crate) async fn work_on(database: &Database, id: JobId, printer: Printer) -> Outcome<Job> {
    let job = run_to_end(database, id, printer).await?;
    exit_of(&job).map(|_| job)
}

async fn run_to_end(database: &Database, id: JobId, printer: Printer) -> Outcome<Job> {
    let bar = bar(printer);
    let mut worker = Worker::new(database, JobKinds::standard());
    let job = worker.run_job(id, |job| show_progress(&bar, job)).await?;
    bar.finish_and_clear();
    Ok(job)
}

/// Works on whatever there is to do.
async fn work(mut worker: Worker, until_idle: bool, pause: Duration, printer: Printer) -> Outcome {
    let (mut steps, mut ended) = (0_u64, [0_u64; 3]);
    loop {
        let job = match worker.run_one_step().await? {
            Worked::Idle { next_us: None } if until_idle => break,
            Worked::Idle { .. } => {
                std::thread::sleep(LOOK_INTERVAL);
                continue;
            }
            Worked::Lost(_) => continue,
            Worked::Step(job) | Worked::Failed(job) | Worked::Ended(job) => job,
            // What a later release may tell is told by the job.
            _ => continue,
        };
        steps += 1;
        match job.state {
            JobState::Done => ended[0] += 1,
            JobState::Failed => ended[1] += 1,
            JobState::Cancelled => ended[2] += 1,
            _ => {}
        }
        if printer.json {
            printer.line(document(&job))?;
        } else if job.state.has_ended() || job.failures > 0 {
            printer.line(one_line(&job))?;
        }
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
    let [done, failed, cancelled] = ended;
    let document = json!({ "steps": steps, "done": done, "failed": failed, "cancelled": cancelled });
    printer.document(&document, || {
        format!("{} steps: {done} jobs done, {failed} failed, {cancelled} cancelled", count(steps))
    })?;
    Ok(if failed > 0 { Exit::PartlyDone } else { Exit::Done })
}

async fn watch(database: &Database, id: JobId, printer: Printer) -> Outcome {
    let bar = bar(printer);
    let mut last = None;
    loop {
        let job = database.job(id).await?;
        show_progress(&bar, &job);
        let stands = (job.steps, job.state, job.failures_total);
        if printer.json && last != Some(stands) && !job.state.has_ended() {
            printer.line(document(&job))?;
        }
        last = Some(stands);
        if job.state.has_ended() {
            bar.finish_and_clear();
            print_job(&job, printer)?;
            return Ok(match job.state {
                JobState::Done => Exit::Done,
                JobState::Cancelled => Exit::PartlyDone,
                _ => Exit::Failed,
            });
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

async fn list(
    database: &Database,
    filter: &JobFilter,
    after: Option<JobId>,
    limit: usize,
    printer: Printer,
) -> Outcome {
    let page = database.jobs(filter, after, limit).await?;
    let jobs: Vec<Json> = page.jobs.iter().map(document).collect();
    let after = page.after.map(|id| id.to_string());
    printer.document(&json!({ "jobs": jobs, "after": after }), || {
        let row = |job: &Job| {
            vec![
                job.id.to_string(),
                job.kind.clone(),
                job.tenant.clone().unwrap_or_default(),
                state_shown(job),
                progress(job),
                moment(job.created_us),
                job.error.as_ref().map(|error| error.tag.clone()).unwrap_or_default(),
            ]
        };
        match page.jobs.is_empty() {
            true => "no jobs".to_owned(),
            false => printer.table(
                &["id", "kind", "tenant", "state", "progress", "created", "error"],
                &page.jobs.iter().map(row).collect::<Vec<_>>(),
            ),
        }
    })?;
    if let Some(after) = after
        && !printer.json
    {
        printer.note(format_args!("there may be more: --after {after}"));
    }
    Ok(Exit::Done)
}

/// Everything that is known of a job.
fn print_job(job: &Job, printer: Printer) -> Outcome<()> {
    printer.document(&document(job), || {
        let mut rows = vec![
            ("id", job.id.to_string()),
            ("kind", format!("{} {}", job.kind, job.parameters)),
            ("tenant", job.tenant.clone().unwrap_or_else(|| "the whole database".to_owned())),
            ("state", state_shown(job)),
            ("progress", progress(job)),
            ("steps", format!("{}, the next of about {}", count(job.steps), count(u64::from(job.step_size)))),
            ("failures", format!("{} in a row, {} in all", job.failures, job.failures_total)),
            ("created", moment(job.created_us)),
        ];
        let moments = [("started", job.started_us), ("last step", job.updated_us), ("ended", job.ended_us)];
        rows.extend(moments.into_iter().filter(|(_, at)| *at != 0).map(|(name, at)| (name, moment(at))));
        if let Some(owner) = job.owner {
            rows.push(("worker", format!("{owner} until {}, token {}", moment(job.due_us), job.token)));
        } else if job.failures > 0 && !job.state.has_ended() {
            rows.push(("tried again", moment(job.due_us)));
        }
        rows.extend(job.result.as_ref().map(|result| ("result", result.to_string())));
        rows.extend(job.error.as_ref().map(|error| ("last error", error.message.clone())));
        let rows: Vec<Vec<String>> =
            rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })
}

pub(crate) fn document(job: &Job) -> Json {
    let at = |microseconds: i64| (microseconds != 0).then(|| moment(microseconds));
    json!({
        "id": job.id.to_string(),
        "kind": job.kind,
        "parameters": job.parameters,
        "tenant": job.tenant,
        "state": job.state.name(),
        "cancelling": job.is_cancelling,
        "done": job.done,
        "total": job.total,
        "rate": job.rate().map(|rate| (rate * 10.0).round() / 10.0),
        "remaining_seconds": job.remaining().map(|remaining| remaining.as_secs()),
        "steps": job.steps,
        "step_size": job.step_size,
        "failures": job.failures,
        "failures_total": job.failures_total,
        "created": at(job.created_us),
        "started": at(job.started_us),
        "updated": at(job.updated_us),
        "ended": at(job.ended_us),
        "due": at(job.due_us),
        "worker": job.owner.map(|owner| owner.to_string()),
        "token": job.token,
        "result": job.result,
        "error": job.error.as_ref().map(|error| {
            json!({ "code": error.number, "tag": error.tag, "message": error.message })
        }),
    })
}

/// A job in a line, for people.
fn one_line(job: &Job) -> String {
    let tenant = job.tenant.as_ref().map(|tenant| format!(" of {tenant}")).unwrap_or_default();
    let error = match &job.error {
        Some(error) if job.state != JobState::Done => format!(": {}", error.message),
        _ => String::new(),
    };
    visible(&format!("job {} ({}{tenant}) {}, {}{error}", job.id, job.kind, job.state.name(), progress(job)))
}

fn state_shown(job: &Job) -> String {
    match job.is_cancelling {
        true => format!("{}, to be cancelled", job.state.name()),
        false => job.state.name().to_owned(),
    }
}

fn progress(job: &Job) -> String {
    let mut shown = count(job.done);
    if let Some(total) = job.total.filter(|_| job.state != JobState::Done) {
        shown.push_str(&format!(" of {}", count(total)));
    }
    if let Some(rate) = job.rate().filter(|_| !job.state.has_ended()) {
        shown.push_str(&format!(", {} a second", count(rate.round() as u64)));
    }
    if let Some(remaining) = job.remaining() {
        shown.push_str(&format!(", {} s left", count(remaining.as_secs())));
    }
    shown
}

fn bar(printer: Printer) -> ProgressBar {
    match printer.json {
        true => ProgressBar::hidden(),
        // Hidden by itself where standard error is no terminal.
        false => {
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar
        }
    }
}

fn show_progress(bar: &ProgressBar, job: &Job) {
    bar.tick();
    bar.set_message(format!("{} {}, {}", job.kind, job.state.name(), progress(job)));
}

/// How a command ends whose job has ended so.
fn exit_of(job: &Job) -> Outcome {
    match (job.state, &job.error) {
        (JobState::Failed, Some(error)) => Err(Failure::Job(error.clone())),
        (JobState::Done, _) => Ok(Exit::Done),
        _ => Ok(Exit::PartlyDone),
    }
}

fn state_of(name: &str) -> Outcome<JobState> {
    let unknown =
        || Failure::Usage(format!("--state {name}: write waiting, running, done, failed or cancelled"));
    JobState::from_name(name).ok_or_else(unknown)
}
