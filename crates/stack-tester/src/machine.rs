//! The machine: one instruction after the other, with a stack and a current transaction.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use pollster::block_on;
use tenantry_kv::env::Env;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{
    Bytes, ConflictKind, Engine, Error, ErrorCode, Isolation, KeySelector, MutationType, RangeRequest,
    Result, StreamingMode, Subspace, TransactionOption, TransactionRef, key_after,
};

use crate::directories::Directories;
use crate::stack::{Stack, malformed};
use crate::{shown, with_retry};

/// The longest packed value that the log of a stack holds.
const LOGGED_SIZE_BYTES_MAX: usize = 40_000;
/// How many items of a stack are logged in one transaction.
const LOGGED_ITEMS: usize = 100;

type Transactions = Arc<Mutex<BTreeMap<Bytes, TransactionRef>>>;

/// A machine that runs the instructions under a prefix.
pub(crate) struct Machine {
    engine: Arc<dyn Engine>,
    env: Env,
    prefix: Bytes,
    stack: Stack,
    transaction_name: Bytes,
    transactions: Transactions,
    last_version: i64,
    directories: Directories,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What an instruction works on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Variant {
    Plain,
    Snapshot,
    Database,
}

impl Machine {
    pub(crate) fn new(engine: Arc<dyn Engine>, env: Env, prefix: Bytes) -> Machine {
        Machine::sharing(engine, env, prefix, Arc::default())
    }

    fn sharing(engine: Arc<dyn Engine>, env: Env, prefix: Bytes, transactions: Transactions) -> Machine {
        Machine {
            directories: Directories::new(env.randomness.clone()),
            engine,
            env,
            transaction_name: prefix.clone(),
            prefix,
            stack: Stack::default(),
            transactions,
            last_version: 0,
            threads: Vec::new(),
        }
    }

    /// Runs all instructions.
    ///
    /// # Errors
    ///
    /// For instructions that make no sense; errors of the engine go onto the stack.
    pub(crate) fn run(mut self) -> Result<()> {
        for (number, instruction) in self.instructions()?.into_iter().enumerate() {
            let number = number as i64;
            let elements = tuple::unpack(&instruction)?;
            let operation = elements.first().and_then(Element::as_str).unwrap_or_default().to_owned();
            let (operation, variant) =
                match (operation.strip_suffix("_SNAPSHOT"), operation.strip_suffix("_DATABASE")) {
                    (Some(operation), _) => (operation, Variant::Snapshot),
                    (_, Some(operation)) => (operation, Variant::Database),
                    _ => (operation.as_str(), Variant::Plain),
                };
            let argument = elements.get(1);
            if operation.starts_with("DIRECTORY_") {
                let transaction = self.transaction()?;
                let engine = self.engine.clone();
                self.directories.step(operation, variant, number, &mut self.stack, &engine, &transaction)?;
            } else if let Err(error) = self.step(operation, argument, variant, number) {
                if error.detail().is_some_and(|detail| detail.starts_with("unknown operation")) {
                    return Err(error);
                }
                self.stack.push(number, shown(&error));
            }
        }
        for thread in self.threads {
            thread.join().map_err(|_| malformed("a thread of the tester panicked"))??;
        }
        Ok(())
    }

    fn instructions(&self) -> Result<Vec<Bytes>> {
        let range = Subspace::new(tuple::pack(&[self.prefix.clone().into()])?).tuples();
        with_retry(&self.engine, |transaction| {
            let mut instructions = Vec::new();
            let mut next = Some(RangeRequest::new(range.begin.clone(), range.end.clone()));
            while let Some(request) = next {
                let batch = block_on(transaction.get_range(&request, Isolation::Snapshot))?;
                instructions.extend(batch.rows.iter().map(|row| row.value.clone()));
                next = request.after(&batch);
            }
            Ok(instructions)
        })
    }

    fn transaction(&self) -> Result<TransactionRef> {
        let mut transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        match transactions.get(&self.transaction_name) {
            Some(transaction) => Ok(transaction.clone()),
            None => {
                let transaction = self.engine.begin()?;
                transactions.insert(self.transaction_name.clone(), transaction.clone());
                Ok(transaction)
            }
        }
    }

    /// Runs a read on the current transaction, or on one of its own.
    fn read<T>(&self, variant: Variant, body: impl Fn(&TransactionRef, Isolation) -> Result<T>) -> Result<T> {
        match variant {
            Variant::Plain => body(&self.transaction()?, Isolation::Serializable),
            Variant::Snapshot => body(&self.transaction()?, Isolation::Snapshot),
            Variant::Database => {
                with_retry(&self.engine, |transaction| body(transaction, Isolation::Serializable))
            }
        }
    }

    /// Runs a write on the current transaction, or on one of its own, which says so on the stack.
    fn write(&mut self, variant: Variant, number: i64, body: impl Fn(&TransactionRef)) -> Result<()> {
        if variant == Variant::Database {
            with_retry(&self.engine, |transaction| {
                body(transaction);
                Ok(())
            })?;
            self.stack.push(number, Bytes::from_static(b"RESULT_NOT_PRESENT"));
        } else {
            body(&self.transaction()?);
        }
        Ok(())
    }

    fn step(
        &mut self,
        operation: &str,
        argument: Option<&Element>,
        variant: Variant,
        number: i64,
    ) -> Result<()> {
        let note = |text: &'static str| Bytes::from_static(text.as_bytes());
        match operation {
            "PUSH" => self.stack.push(number, argument.cloned().unwrap_or(Element::Nil)),
            "DUP" => self.stack.duplicate()?,
            "EMPTY_STACK" => self.stack.clear(),
            "SWAP" => {
                let depth = self.stack.pop_int()?;
                self.stack.swap(depth)?;
            }
            "POP" => drop(self.stack.pop()?),
            "SUB" => {
                let (first, second) = (self.stack.pop_int()?, self.stack.pop_int()?);
                self.stack.push(number, first.wrapping_sub(second));
            }
            "CONCAT" => match (self.stack.pop()?, self.stack.pop()?) {
                (Element::String(first), Element::String(second)) => self.stack.push(number, first + &second),
                (Element::Bytes(first), Element::Bytes(second)) => {
                    self.stack.push(number, Bytes::from([first, second].concat()));
                }
                (first, second) => {
                    return Err(malformed(&format!("{first:?} and {second:?} cannot be joined")));
                }
            },
            "LOG_STACK" => self.log_stack()?,
            "WAIT_FUTURE" => self.stack.wait()?,
            "NEW_TRANSACTION" => {
                let transaction = self.engine.begin()?;
                let mut transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
                transactions.insert(self.transaction_name.clone(), transaction);
            }
            "USE_TRANSACTION" => {
                self.transaction_name = self.stack.pop_bytes()?;
                self.transaction()?;
            }
            "ON_ERROR" => {
                let code = i32::try_from(self.stack.pop_int()?).unwrap_or(i32::MAX);
                block_on(self.transaction()?.on_error(&ErrorCode::from_number(code).into()))?;
                self.stack.push(number, note("RESULT_NOT_PRESENT"));
            }
            "GET" => {
                let key = self.stack.pop_bytes()?;
                let value =
                    self.read(variant, |transaction, isolation| block_on(transaction.get(&key, isolation)))?;
                self.stack.push(number, value.unwrap_or(note("RESULT_NOT_PRESENT")));
            }
            "GET_ESTIMATED_RANGE_SIZE" => {
                let (begin, end) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                self.read(variant, |transaction, _| {
                    block_on(transaction.estimated_range_size_bytes(&begin, &end))
                })?;
                self.stack.push(number, note("GOT_ESTIMATED_RANGE_SIZE"));
            }
            "GET_RANGE_SPLIT_POINTS" => {
                let (begin, end) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                let chunk_size_bytes = u64::try_from(self.stack.pop_int()?).unwrap_or(0);
                self.read(variant, |transaction, _| {
                    block_on(transaction.range_split_points(&begin, &end, chunk_size_bytes))
                })?;
                self.stack.push(number, note("GOT_RANGE_SPLIT_POINTS"));
            }
            "GET_KEY" => {
                let selector = self.pop_selector()?;
                let prefix = self.stack.pop_bytes()?;
                let key = self.read(variant, |transaction, isolation| {
                    block_on(transaction.get_key(&selector, isolation))
                })?;
                let clamped = match key.starts_with(&prefix) {
                    true => key,
                    false if key < prefix => prefix,
                    false => tuple::prefix_end(&prefix).unwrap_or_default(),
                };
                self.stack.push(number, clamped);
            }
            "GET_RANGE" => {
                let (begin, end) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                let request = self.pop_limits(RangeRequest::new(begin, end))?;
                self.get_range(request, &[], variant, number)?;
            }
            "GET_RANGE_STARTS_WITH" => {
                let prefix = self.stack.pop_bytes()?;
                let end = tuple::prefix_end(&prefix).unwrap_or_else(|| Bytes::from_static(b"\xff"));
                let request = self.pop_limits(RangeRequest::new(prefix, end))?;
                self.get_range(request, &[], variant, number)?;
            }
            "GET_RANGE_SELECTOR" => {
                let (begin, end) = (self.pop_selector()?, self.pop_selector()?);
                let request = self.pop_limits(RangeRequest::between(begin, end))?;
                let prefix = self.stack.pop_bytes()?;
                self.get_range(request, &prefix, variant, number)?;
            }
            "GET_READ_VERSION" => {
                self.last_version =
                    self.read(variant, |transaction, _| block_on(transaction.read_version()))?;
                self.stack.push(number, note("GOT_READ_VERSION"));
            }
            "GET_VERSIONSTAMP" => self.stack.push_stamp(number, self.transaction()?.versionstamp()),
            "SET" => {
                let (key, value) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                self.write(variant, number, |transaction| transaction.set(&key, &value))?;
            }
            "SET_READ_VERSION" => self.transaction()?.set_read_version(self.last_version),
            "CLEAR" => {
                let key = self.stack.pop_bytes()?;
                self.write(variant, number, |transaction| transaction.clear(&key))?;
            }
            "CLEAR_RANGE" => {
                let (begin, end) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                self.write(variant, number, |transaction| transaction.clear_range(&begin, &end))?;
            }
            "CLEAR_RANGE_STARTS_WITH" => {
                let prefix = self.stack.pop_bytes()?;
                let end = tuple::prefix_end(&prefix).unwrap_or_else(|| Bytes::from_static(b"\xff"));
                self.write(variant, number, |transaction| transaction.clear_range(&prefix, &end))?;
            }
            "ATOMIC_OP" => {
                let mutation = mutation(&self.stack.pop_text()?)?;
                let (key, operand) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                self.write(variant, number, |transaction| transaction.atomic(mutation, &key, &operand))?;
            }
            "READ_CONFLICT_RANGE" | "WRITE_CONFLICT_RANGE" => {
                let (begin, end) = (self.stack.pop_bytes()?, self.stack.pop_bytes()?);
                self.transaction()?.add_conflict_range(&begin, &end, conflict_kind(operation))?;
                self.stack.push(number, note("SET_CONFLICT_RANGE"));
            }
            "READ_CONFLICT_KEY" | "WRITE_CONFLICT_KEY" => {
                let key = self.stack.pop_bytes()?;
                self.transaction()?.add_conflict_range(&key, &key_after(&key), conflict_kind(operation))?;
                self.stack.push(number, note("SET_CONFLICT_KEY"));
            }
            "DISABLE_WRITE_CONFLICT" => {
                self.transaction()?.set_option(TransactionOption::NextWriteNoWriteConflictRange)?;
            }
            "COMMIT" => {
                block_on(self.transaction()?.commit())?;
                self.stack.push(number, note("RESULT_NOT_PRESENT"));
            }
            "RESET" => self.transaction()?.reset(),
            "CANCEL" => self.transaction()?.cancel(),
            "GET_COMMITTED_VERSION" => {
                self.last_version = self.transaction()?.committed_version()?;
                self.stack.push(number, note("GOT_COMMITTED_VERSION"));
            }
            "GET_APPROXIMATE_SIZE" => {
                block_on(self.transaction()?.approximate_size_bytes())?;
                self.stack.push(number, note("GOT_APPROXIMATE_SIZE"));
            }
            "START_THREAD" => {
                let prefix = self.stack.pop_bytes()?;
                let machine = Machine::sharing(
                    self.engine.clone(),
                    self.env.clone(),
                    prefix,
                    self.transactions.clone(),
                );
                self.threads.push(std::thread::spawn(move || machine.run()));
            }
            "WAIT_EMPTY" => {
                let prefix = self.stack.pop_bytes()?;
                self.wait_empty(&prefix)?;
                self.stack.push(number, note("WAITED_FOR_EMPTY"));
            }
            "UNIT_TESTS" => self.unit_tests()?,
            _ => return self.tuple_step(operation, number),
        }
        Ok(())
    }

    fn tuple_step(&mut self, operation: &str, number: i64) -> Result<()> {
        match operation {
            "TUPLE_PACK" => {
                let count = self.stack.pop_int()?;
                let items = self.stack.pop_many(count)?;
                self.stack.push(number, tuple::pack(&items)?);
            }
            "TUPLE_PACK_WITH_VERSIONSTAMP" => {
                let prefix = self.stack.pop_bytes()?;
                let count = self.stack.pop_int()?;
                let items = self.stack.pop_many(count)?;
                match tuple::pack_with_versionstamp_after(&prefix, &items) {
                    Ok(packed) => {
                        self.stack.push(number, Bytes::from_static(b"OK"));
                        self.stack.push(number, packed);
                    }
                    Err(error) => {
                        let has_none = error.to_string().contains("this one has 0");
                        let text = if has_none { "ERROR: NONE" } else { "ERROR: MULTIPLE" };
                        self.stack.push(number, Bytes::from_static(text.as_bytes()));
                    }
                }
            }
            "TUPLE_UNPACK" => {
                for element in tuple::unpack(&self.stack.pop_bytes()?)? {
                    self.stack.push(number, tuple::pack(&[element])?);
                }
            }
            "TUPLE_RANGE" => {
                let count = self.stack.pop_int()?;
                let items = self.stack.pop_many(count)?;
                let range = Subspace::new(tuple::pack(&items)?).tuples();
                self.stack.push(number, range.begin);
                self.stack.push(number, range.end);
            }
            "TUPLE_SORT" => {
                let count = self.stack.pop_int()?;
                let mut packed = Vec::new();
                for item in self.stack.pop_many(count)? {
                    let bytes = item.as_bytes().ok_or_else(|| malformed("a packed tuple was expected"))?;
                    packed.push(tuple::pack(&tuple::unpack(bytes)?)?);
                }
                packed.sort();
                for item in packed {
                    self.stack.push(number, item);
                }
            }
            "ENCODE_FLOAT" => {
                let bytes = self.stack.pop_bytes()?;
                let bytes = bytes[..].try_into().map_err(|_| malformed("four bytes were expected"))?;
                self.stack.push(number, f32::from_be_bytes(bytes));
            }
            "ENCODE_DOUBLE" => {
                let bytes = self.stack.pop_bytes()?;
                let bytes = bytes[..].try_into().map_err(|_| malformed("eight bytes were expected"))?;
                self.stack.push(number, f64::from_be_bytes(bytes));
            }
            "DECODE_FLOAT" => match self.stack.pop()? {
                Element::Float(value) => {
                    self.stack.push(number, Bytes::copy_from_slice(&value.to_be_bytes()))
                }
                other => return Err(malformed(&format!("{other:?} is no float"))),
            },
            "DECODE_DOUBLE" => match self.stack.pop()? {
                Element::Double(value) => {
                    self.stack.push(number, Bytes::copy_from_slice(&value.to_be_bytes()))
                }
                other => return Err(malformed(&format!("{other:?} is no double"))),
            },
            _ => return Err(malformed(&format!("unknown operation {operation}"))),
        }
        Ok(())
    }

    fn pop_selector(&mut self) -> Result<KeySelector> {
        let key = self.stack.pop_bytes()?;
        let or_equal = self.stack.pop_int()? != 0;
        let offset =
            i32::try_from(self.stack.pop_int()?).map_err(|_| malformed("the offset is too large"))?;
        Ok(KeySelector::new(key, or_equal, offset))
    }

    /// Limit, order and streaming mode of a range read.
    fn pop_limits(&mut self, request: RangeRequest) -> Result<RangeRequest> {
        let limit = usize::try_from(self.stack.pop_int()?).unwrap_or(0);
        let reverse = self.stack.pop_int()? != 0;
        let mode = match self.stack.pop_int()? {
            -2 => StreamingMode::WantAll,
            -1 => StreamingMode::Iterator { iteration: 1 },
            0 => StreamingMode::Exact,
            1 => StreamingMode::Small,
            2 => StreamingMode::Medium,
            3 => StreamingMode::Large,
            4 => StreamingMode::Serial,
            other => return Err(malformed(&format!("there is no streaming mode {other}"))),
        };
        Ok(request.limit(limit).reverse(reverse).mode(mode))
    }

    fn get_range(
        &mut self,
        request: RangeRequest,
        prefix: &[u8],
        variant: Variant,
        number: i64,
    ) -> Result<()> {
        let packed = self.read(variant, |transaction, isolation| {
            // A tuple is its elements one behind the other: this one may be longer than a tuple of the library.
            let mut packed = Vec::new();
            let mut next = Some(request.clone());
            while let Some(request) = next {
                let batch = block_on(transaction.get_range(&request, isolation))?;
                for row in &batch.rows {
                    if row.key.starts_with(prefix) {
                        packed.extend_from_slice(&packed_bytes(&row.key));
                        packed.extend_from_slice(&packed_bytes(&row.value));
                    }
                }
                next = request.after(&batch);
            }
            Ok(Bytes::from(packed))
        })?;
        self.stack.push(number, packed);
        Ok(())
    }

    fn log_stack(&mut self) -> Result<()> {
        let prefix = self.stack.pop_bytes()?;
        while self.stack.len() > 0 {
            let mut entries = Vec::new();
            while self.stack.len() > 0 && entries.len() < LOGGED_ITEMS {
                let index = self.stack.len() as i64 - 1;
                let (number, value) = self.stack.pop_with_number()?;
                let key = tuple::pack_after(&prefix, &[index.into(), number.into()])?;
                let mut packed = match &value {
                    Element::Bytes(bytes) => packed_bytes(bytes).into(),
                    value => tuple::pack(std::slice::from_ref(value))?,
                };
                packed.truncate(LOGGED_SIZE_BYTES_MAX);
                entries.push((key, packed));
            }
            with_retry(&self.engine, |transaction| {
                entries.iter().for_each(|(key, value)| transaction.set(key, value));
                Ok(())
            })?;
        }
        Ok(())
    }

    fn wait_empty(&self, prefix: &Bytes) -> Result<()> {
        let end = tuple::prefix_end(prefix).unwrap_or_else(|| Bytes::from_static(b"\xff"));
        with_retry(&self.engine, |transaction| {
            let first = RangeRequest::new(prefix.clone(), end.clone()).limit(1);
            match block_on(transaction.get_range(&first, Isolation::Serializable))?.rows.is_empty() {
                true => Ok(()),
                false => Err(Error::from(ErrorCode::NOT_COMMITTED)),
            }
        })
    }

    /// What the stack cannot test: options, watches, cancellation, retry limits, timeouts.
    fn unit_tests(&self) -> Result<()> {
        let expect = |is_so: bool, what: &str| match is_so {
            true => Ok(()),
            false => Err(malformed(&format!("unknown operation: the unit test {what} failed"))),
        };
        let transaction = self.engine.begin()?;
        for option in [
            TransactionOption::PrioritySystemImmediate,
            TransactionOption::PriorityBatch,
            TransactionOption::CausalReadRisky,
            TransactionOption::CausalWriteRisky,
            TransactionOption::AccessSystemKeys,
            TransactionOption::ReadSystemKeys,
            TransactionOption::TimeoutMs(60_000),
            TransactionOption::RetryLimit(50),
            TransactionOption::MaxRetryDelayMs(100),
            TransactionOption::LockAware,
        ] {
            transaction.set_option(option)?;
        }
        block_on(transaction.get(b"\xff", Isolation::Serializable))?;

        with_retry(&self.engine, |transaction| {
            transaction.set(b"watched", b"before");
            Ok(())
        })?;
        let watch = with_retry(&self.engine, |transaction| Ok(transaction.watch(b"watched")))?;
        with_retry(&self.engine, |transaction| {
            transaction.set(b"watched", b"after");
            Ok(())
        })?;
        block_on(watch)?;
        with_retry(&self.engine, |transaction| {
            transaction.clear(b"watched");
            Ok(())
        })?;

        let transaction = self.engine.begin()?;
        transaction.cancel();
        let cancelled = block_on(transaction.get(b"a", Isolation::Serializable));
        expect(
            cancelled.is_err_and(|error| error.code() == ErrorCode::TRANSACTION_CANCELLED),
            "cancellation",
        )?;
        transaction.reset();
        block_on(transaction.get(b"a", Isolation::Serializable))?;

        let transaction = self.engine.begin()?;
        transaction.set_option(TransactionOption::RetryLimit(1))?;
        let conflict = Error::from(ErrorCode::NOT_COMMITTED);
        block_on(transaction.on_error(&conflict))?;
        expect(block_on(transaction.on_error(&conflict)) == Err(conflict), "retry limits")?;

        let transaction = self.engine.begin()?;
        transaction.set_option(TransactionOption::TimeoutMs(10))?;
        block_on(self.env.timer.sleep(Duration::from_millis(200)))?;
        let late = block_on(transaction.get(b"a", Isolation::Serializable));
        expect(late.is_err_and(|error| error.code() == ErrorCode::TRANSACTION_TIMED_OUT), "timeouts")
    }
}

/// A tuple of one byte string, of any length.
fn packed_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![1];
    for byte in bytes {
        packed.push(*byte);
        if *byte == 0 {
            packed.push(0xff);
        }
    }
    packed.push(0);
    packed
}

fn conflict_kind(operation: &str) -> ConflictKind {
    if operation.starts_with("READ") { ConflictKind::Read } else { ConflictKind::Write }
}

fn mutation(name: &str) -> Result<MutationType> {
    let code = match name {
        "ADD" => 2,
        "AND" | "BIT_AND" => 6,
        "OR" | "BIT_OR" => 7,
        "XOR" | "BIT_XOR" => 8,
        "APPEND_IF_FITS" => 9,
        "MAX" => 12,
        "MIN" => 13,
        "SET_VERSIONSTAMPED_KEY" => 14,
        "SET_VERSIONSTAMPED_VALUE" => 15,
        "BYTE_MIN" => 16,
        "BYTE_MAX" => 17,
        "COMPARE_AND_CLEAR" => 20,
        other => return Err(malformed(&format!("there is no atomic operation {other}"))),
    };
    MutationType::from_code(code).ok_or_else(|| ErrorCode::INVALID_MUTATION_TYPE.into())
}
