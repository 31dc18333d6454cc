//! The client library of this process: loaded once, its network started once, stopped once.
//!
//! The library allows one API version and one set of options a process, the number of network threads among them, and no second start. So the first engine that is opened decides on the library and
//! its options; a later one with others is told so.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::Library;
use tenantry_kv::env::{Env, ThreadHandle};
use tenantry_kv::{Error, ErrorCode, Result};

use super::functions::Functions;
use crate::options::{ClientOptions, NetworkOption};

/// The API versions that the conformance suite has passed at, the best first.
const API_VERSIONS: [i32; 2] = [730, 710];
/// `client_threads_per_version` and what it needs.
const OPTION_EXTERNAL_CLIENT_LIBRARY: i32 = 62;

/// The library of this process. It is never unloaded: its threads run code of it until the process ends.
pub(crate) struct Client {
    pub(super) functions: Functions,
    /// What was loaded.
    path: String,
    api_version: i32,
    options: ClientOptions,
    is_running: AtomicBool,
    is_stopped: AtomicBool,
    network: Mutex<Option<Box<dyn ThreadHandle>>>,
    transactions: AtomicU64,
    /// Held by whoever opens handles.
    pub(super) opening: Mutex<()>,
    /// Why the network was not set up, if that was tried. The library does not try it a second time.
    set_up_error: OnceLock<Error>,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Client({}, API version {})", self.path, self.api_version)
    }
}

static CLIENT: Mutex<Option<&'static Client>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<&'static Client>> {
    CLIENT.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" {
    /// C's `atexit`: runs `function` when the process ends by `exit` or by returning from `main`.
    fn atexit(function: extern "C" fn()) -> c_int;
}

extern "C" fn at_exit() {
    stop();
}

/// Stops the network, if it runs. Nothing that is under way completes afterwards, and it cannot be started again.
pub(crate) fn stop() {
    let Some(client) = *current() else { return };
    if !client.is_running.load(Ordering::Acquire) || client.is_stopped.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: the network was set up and is running; the function may be called from any thread.
    unsafe { (client.functions.stop_network)() };
    let network = client.network.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(network) = network {
        network.join();
    }
}

impl Client {
    /// The library of this process, running; loads and starts it if this is the first call.
    ///
    /// # Errors
    ///
    /// 10040 when no library can be loaded, naming what was tried, or when it is none, or too old; 2007 when the process uses another library or other options; the
    /// library's own for an option that it refuses.
    pub(crate) fn start(options: &ClientOptions, env: &Env) -> Result<&'static Client> {
        let mut current = current();
        if let Some(error) = current.and_then(|client| client.set_up_error.get()) {
            return Err(error.clone());
        }
        let client = match *current {
            Some(client) if client.options == *options => client,
            Some(client) if !client.is_running.load(Ordering::Acquire) => {
                // The last try ended at a refused option.
                let (library, path) = load(options)?;
                if path != client.path {
                    return Err(client.is_other(options));
                }
                drop(library);
                let again = Client::of(&client.path, options, client.api_version)?;
                *current.insert(again)
            }
            Some(client) => return Err(client.is_other(options)),
            None => *current.insert(Client::load(options)?),
        };
        if client.is_stopped.load(Ordering::Acquire) {
            return Err(stopped());
        }
        if !client.is_running.load(Ordering::Acquire) {
            client.run(env)?;
        }
        Ok(client)
    }

    /// Why `options` cannot be had any more.
    fn is_other(&self, options: &ClientOptions) -> Error {
        let (threads, wanted) = (self.options.client_threads, options.client_threads);
        let others = match threads == wanted {
            true => "other client options".to_owned(),
            false => format!("{threads} network threads, not {wanted}"),
        };
        let detail = format!(
            "this process already uses {} with {others}: the first database that is opened on a cluster decides, for as long as the process runs",
            self.path
        );
        Error::new(ErrorCode::INVALID_OPTION, detail)
    }

    fn load(options: &ClientOptions) -> Result<&'static Client> {
        let (library, path) = load(options)?;
        let functions = find(&library, &path)?;
        // The library stays for as long as the process.
        std::mem::forget(library);
        // SAFETY: may be called before all others.
        let newest = unsafe { (functions.get_max_api_version)() };
        let Some(api_version) = API_VERSIONS.into_iter().find(|version| *version <= newest) else {
            let detail =
                format!("{path} has API versions up to {newest}; 710 is needed, which release 7.1 has");
            return Err(Error::new(ErrorCode::CLIENT_LIBRARY_UNUSABLE, detail));
        };
        let client = Client::leak(functions, path, api_version, options);
        // SAFETY: the first function called beside the maximum, before which it has to come.
        client.check(unsafe { (client.functions.select_api_version_impl)(api_version, api_version) })?;
        Ok(client)
    }

    /// As [`load`](Client::load) for a library whose API version was selected before.
    fn of(path: &str, options: &ClientOptions, api_version: i32) -> Result<&'static Client> {
        // SAFETY: as in `load`.
        let library =
            unsafe { Library::new(path) }.map_err(|error| not_loaded(&[(path.to_owned(), error)]))?;
        let functions = find(&library, path)?;
        std::mem::forget(library);
        Ok(Client::leak(functions, path.to_owned(), api_version, options))
    }

    fn leak(
        functions: Functions,
        path: String,
        api_version: i32,
        options: &ClientOptions,
    ) -> &'static Client {
        Box::leak(Box::new(Client {
            functions,
            path,
            api_version,
            options: options.clone(),
            is_running: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            network: Mutex::default(),
            transactions: AtomicU64::new(0),
            opening: Mutex::default(),
            set_up_error: OnceLock::new(),
        }))
    }

    fn run(&'static self, env: &Env) -> Result<()> {
        if self.options.client_threads > 1 {
            // More than one thread needs the library a second time, as an "external" client.
            let path = std::fs::canonicalize(&self.path).map_err(|error| {
                let detail = format!(
                    "several client threads need the path of the library, and {} is none ({error}): give its full path, by TENANTRY_FDB_LIBRARY or \
                     ClientOptions::library_path",
                    self.path
                );
                Error::new(ErrorCode::INVALID_OPTION, detail)
            })?;
            self.set_network_option(&NetworkOption::text(
                OPTION_EXTERNAL_CLIENT_LIBRARY,
                "external_client_library",
                &path.to_string_lossy(),
            ))?;
        }
        for option in self.options.network_options() {
            self.set_network_option(&option)?;
        }
        // SAFETY: once, after the API version was selected: the caller holds the lock on `CLIENT`.
        self.check(unsafe { (self.functions.setup_network)() }).map_err(|error| {
            let error = self.not_set_up(error);
            self.set_up_error.get_or_init(|| error).clone()
        })?;
        let run = move || {
            // SAFETY: once, on a thread of its own, after the set-up. It returns when the network is stopped.
            unsafe { (self.functions.run_network)() };
            // Also where it ended by itself: nothing completes any more, and whoever begins something is told.
            self.is_stopped.store(true, Ordering::Release);
        };
        let network = env.threads.spawn("fdb-network", Box::new(run))?;
        *self.network.lock().unwrap_or_else(PoisonError::into_inner) = Some(network);
        self.is_running.store(true, Ordering::Release);
        self.stop_first_at_exit();
        Ok(())
    }

    /// Why the network could not be set up.
    fn not_set_up(&self, error: Error) -> Error {
        let threads = self.options.client_threads;
        if threads == 1 {
            return error;
        }
        let folder = self.options.temporary_directory.as_deref().unwrap_or("/tmp");
        let detail = format!(
            "the client library did not start {threads} network threads ({error}): for each it puts a copy of {} into {folder} and loads it, which needs room there              and the right to execute it (ClientOptions::temporary_directory names another folder)",
            self.path
        );
        Error::new(ErrorCode::CLIENT_LIBRARY_UNUSABLE, detail)
    }

    /// Makes the stop the first thing that happens when the process ends. The library has objects that it makes when it first needs them, and destroys when the process ends, the
    /// latest first; its network must not run any more by then. So this is to be called again when it may have made some.
    pub(super) fn stop_first_at_exit(&self) {
        // SAFETY: the function lives as long as the process. If there is no room for it, what was registered before holds.
        unsafe { atexit(at_exit) };
    }

    /// Notes that a transaction begins.
    pub(super) fn count_transaction(&self) {
        // Often at first, when new things happen, and seldom later: each registration takes room until the end.
        if (self.transactions.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
            self.stop_first_at_exit();
        }
    }

    fn set_network_option(&self, option: &NetworkOption) -> Result<()> {
        let length = c_int::try_from(option.value.len()).unwrap_or(c_int::MAX);
        // SAFETY: the value is readable for its length; the network does not run yet.
        let code = unsafe { (self.functions.network_set_option)(option.code, option.value.as_ptr(), length) };
        self.check(code).map_err(|error| {
            Error::new(
                error.code(),
                format!("the client library refuses the option {}: {error}", option.name),
            )
        })
    }

    /// Fails when the network was stopped.
    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_stopped.load(Ordering::Acquire) { Err(stopped()) } else { Ok(()) }
    }

    /// Whether a return code is one.
    pub(super) fn check(&self, code: c_int) -> Result<()> {
        if code == 0 { Ok(()) } else { Err(self.error(code)) }
    }

    /// A code of the library as an error, with the library's words where this build has none.
    pub(crate) fn error(&self, code: c_int) -> Error {
        let known = ErrorCode::from_number(code);
        if ErrorCode::ALL.contains(&known) {
            return known.into();
        }
        // SAFETY: any code may be asked for; the answer is a static string.
        let text = unsafe { text((self.functions.get_error)(code)) };
        Error::new(known, text)
    }

    /// Which library it is: version, source revision, protocol, separated by commas.
    pub(crate) fn version(&self) -> String {
        // SAFETY: the answer is a static string.
        unsafe { text((self.functions.get_client_version)()) }
    }

    pub(crate) fn api_version(&self) -> i32 {
        self.api_version
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

fn stopped() -> Error {
    Error::new(
        ErrorCode::ENGINE_STOPPED,
        "the client library's network was stopped in this process, and cannot be started again",
    )
}

fn find(library: &Library, path: &str) -> Result<Functions> {
    // SAFETY: a library that has all functions by these names is taken for libfdb_c; that is what whoever names one says. It is never unloaded.
    unsafe { Functions::find(library) }.map_err(|missing| {
        let detail =
            format!("{path} has no function {missing}: it is no libfdb_c, or one before release 7.1");
        Error::new(ErrorCode::CLIENT_LIBRARY_UNUSABLE, detail)
    })
}

/// Where the library may be.
fn places(options: &ClientOptions) -> Vec<String> {
    if let Some(path) = &options.library_path {
        return vec![path.clone()];
    }
    let name = libloading::library_filename("fdb_c").to_string_lossy().into_owned();
    let mut places = vec![name.clone()];
    if cfg!(unix) {
        // Where FoundationDB's packages put it, which is not always where the loader looks.
        places.extend(["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(|folder| format!("{folder}/{name}")));
    } else {
        places.push("fdb_c.dll".to_owned());
    }
    places
}

fn load(options: &ClientOptions) -> Result<(Library, String)> {
    let mut tried = Vec::new();
    for path in places(options) {
        // SAFETY: loading runs the library's initialisation, which is FoundationDB's own and asks nothing of the process.
        match unsafe { Library::new(&path) } {
            Ok(library) => return Ok((library, path)),
            Err(error) => tried.push((path, error)),
        }
    }
    Err(not_loaded(&tried))
}

fn not_loaded(tried: &[(String, libloading::Error)]) -> Error {
    let tried: Vec<String> = tried
        .iter()
        .map(|(path, error)| match Path::new(path).is_absolute() && !Path::new(path).exists() {
            true => format!("{path} (not there)"),
            false => format!("{path} ({error})"),
        })
        .collect();
    let detail = format!(
        "FoundationDB's client library was not found: tried {}; install the package foundationdb-clients (7.1 or later), or name the library by \
         TENANTRY_FDB_LIBRARY",
        tried.join(", ")
    );
    Error::new(ErrorCode::CLIENT_LIBRARY_UNUSABLE, detail)
}

/// The text at `text`.
///
/// # Safety
///
/// A string that ends with a zero byte and lives as long as the process, or null.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by this function's condition.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// A path for the library; `None` stands for its own default.
pub(super) fn c_string(what: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        Error::new(ErrorCode::INVALID_OPTION_VALUE, format!("{what} {text:?} has a zero byte in it"))
    })
}
