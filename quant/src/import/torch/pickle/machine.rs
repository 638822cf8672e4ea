use std::collections::BTreeMap;

use super::{MARKS_MAX, Name, Object, Pickle, VALUES_MAX, Value};
use crate::import::torch::cursor::Cursor;
use crate::import::torch::error::PickleError;

/// Protocols with binary operations; 0 and 1 are PyTorch's only where somebody asked for them.
const PROTOCOLS: std::ops::RangeInclusive<u8> = 2..=5;

/// The state while a pickle is read.
pub(super) struct Machine<'a> {
    input: Cursor<'a>,
    /// Where the current operation begins.
    pub(super) offset: usize,
    pub(super) stack: Vec<Value<'a>>,
    /// Heights of the stack.
    pub(super) marks: Vec<usize>,
    memo: BTreeMap<usize, Value<'a>>,
    pub(super) objects: Vec<Object<'a>>,
    /// Values made so far.
    values: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: Cursor<'a>) -> Self {
        let offset = input.at();
        Self {
            input,
            offset,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
            objects: Vec::new(),
            values: 0,
        }
    }

    /// Carries out operations until the last.
    pub(super) fn finish(mut self) -> Result<Pickle<'a>, PickleError> {
        loop {
            self.offset = self.input.at();
            let opcode = self.take(Cursor::u8)?;
            if opcode == b'.' {
                let root = self.pop()?;
                return Ok(Pickle { root, objects: self.objects, end: self.input.at() });
            }
            if self.literal(opcode)? || self.container(opcode)? || self.reference(opcode)? {
                continue;
            }
            self.control(opcode)?;
        }
    }

    /// Operations that push a value which stands in the pickle; `false` for every other.
    fn literal(&mut self, opcode: u8) -> Result<bool, PickleError> {
        let value = match opcode {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i64::from(self.take(Cursor::u32)?.cast_signed())),
            b'K' => Value::Int(self.take(Cursor::u8)?.into()),
            b'M' => Value::Int(self.take(Cursor::u16)?.into()),
            0x8a => long(self.counted(1)?),
            0x8b => long(self.counted(4)?),
            b'G' => {
                self.take(Cursor::u64)?;
                Value::Float
            }
            b'X' => self.text(4)?,
            0x8c => self.text(1)?,
            0x8d => self.text(8)?,
            // Python 2 wrote its texts so.
            b'U' => text_or_bytes(self.counted(1)?),
            b'T' => text_or_bytes(self.counted(4)?),
            b'C' => self.bytes(1)?,
            b'B' => self.bytes(4)?,
            0x8e | 0x96 => self.bytes(8)?,
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    /// Operations on the memo, and those that name something outside.
    fn reference(&mut self, opcode: u8) -> Result<bool, PickleError> {
        match opcode {
            b'h' => self.recall(1)?,
            b'j' => self.recall(4)?,
            b'q' => self.remember(1)?,
            b'r' => self.remember(4)?,
            0x94 => {
                let value = self.top()?;
                self.memo.insert(self.memo.len(), value);
            }
            b'c' => {
                let name = self.lines()?;
                self.push_object(Object::Global(name))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(self.operands("needs a module and a name"));
                };
                self.push_object(Object::Global(Name { module, name }))?;
            }
            // Registered extensions are numbers that only the writing program could explain.
            0x82 => self.extension(1)?,
            0x83 => self.extension(2)?,
            0x84 => self.extension(4)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is left: operations on the stack itself and on the stream.
    fn control(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => {
                let found = self.take(Cursor::u8)?;
                if !PROTOCOLS.contains(&found) {
                    return Err(PickleError::Protocol { found });
                }
            }
            // A frame only says how much to read at once.
            0x95 => {
                let length = self.length(8)?;
                let mut ahead = self.input;
                ahead.take(length).ok_or(PickleError::Truncated { offset: self.offset })?;
            }
            b'(' => {
                if self.marks.len() == MARKS_MAX {
                    return Err(PickleError::TooMany { what: "nested objects", limit: MARKS_MAX });
                }
                self.marks.push(self.stack.len());
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
            }
            b'2' => {
                let value = self.top()?;
                self.push(value)?;
            }
            _ => return Err(PickleError::Opcode { offset: self.offset, opcode }),
        }
        Ok(())
    }

    fn recall(&mut self, width: usize) -> Result<(), PickleError> {
        let index = self.length(width)?;
        let value = self.memo.get(&index).copied();
        self.push(value.ok_or_else(|| self.operands("recalls what was not remembered"))?)
    }

    fn remember(&mut self, width: usize) -> Result<(), PickleError> {
        let index = self.length(width)?;
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn extension(&mut self, width: usize) -> Result<(), PickleError> {
        self.length(width)?;
        self.push_object(Object::Opaque(Name { module: "copyreg", name: "extension" }))
    }

    /// Two lines: module and name.
    pub(super) fn lines(&mut self) -> Result<Name<'a>, PickleError> {
        let (module, name) = (self.take(Cursor::line)?, self.take(Cursor::line)?);
        match (std::str::from_utf8(module), std::str::from_utf8(name)) {
            (Ok(module), Ok(name)) => Ok(Name { module, name }),
            _ => Err(self.operands("holds a name that is no text")),
        }
    }

    fn text(&mut self, width: usize) -> Result<Value<'a>, PickleError> {
        let bytes = self.counted(width)?;
        std::str::from_utf8(bytes).map(Value::Text).map_err(|_| self.operands("holds a text that is none"))
    }

    fn bytes(&mut self, width: usize) -> Result<Value<'a>, PickleError> {
        self.counted(width).map(|_| Value::Bytes)
    }

    fn counted(&mut self, width: usize) -> Result<&'a [u8], PickleError> {
        let length = self.length(width)?;
        self.take(|input| input.take(length))
    }

    /// An unsigned number of one, two, four or eight bytes.
    fn length(&mut self, width: usize) -> Result<usize, PickleError> {
        let bytes = self.take(|input| input.take(width))?;
        let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).map_err(|_| PickleError::Truncated { offset: self.offset })
    }

    fn take<T>(&mut self, read: impl FnOnce(&mut Cursor<'a>) -> Option<T>) -> Result<T, PickleError> {
        read(&mut self.input).ok_or(PickleError::Truncated { offset: self.offset })
    }

    /// Notes that values are made or copied, so that neither memory nor time exceeds what the bytes allow.
    pub(super) fn charge(&mut self, values: usize) -> Result<(), PickleError> {
        self.values = self.values.saturating_add(values);
        match self.values > VALUES_MAX {
            true => Err(PickleError::TooMany { what: "values", limit: VALUES_MAX }),
            false => Ok(()),
        }
    }

    pub(super) fn push(&mut self, value: Value<'a>) -> Result<(), PickleError> {
        self.charge(1)?;
        self.stack.push(value);
        Ok(())
    }

    pub(super) fn push_object(&mut self, object: Object<'a>) -> Result<(), PickleError> {
        self.push(Value::Object(self.objects.len()))?;
        self.objects.push(object);
        Ok(())
    }

    /// Takes the topmost value, which must lie above the last mark.
    pub(super) fn pop(&mut self) -> Result<Value<'a>, PickleError> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    pub(super) fn top(&self) -> Result<Value<'a>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = self.stack[floor..].last().copied();
        value.ok_or_else(|| self.operands("finds the stack empty"))
    }

    /// Takes the last mark and gives the height of the stack there.
    pub(super) fn mark(&mut self) -> Result<usize, PickleError> {
        self.marks.pop().ok_or_else(|| self.operands("finds no mark"))
    }

    pub(super) fn operands(&self, reason: &'static str) -> PickleError {
        PickleError::Operands { offset: self.offset, reason }
    }
}

/// A whole number in as many bytes as it needs.
fn long(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long(bytes);
    }
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let start = if negative { -1i64 } else { 0 };
    Value::Int(bytes.iter().rev().fold(start, |number, byte| number << 8 | i64::from(*byte)))
}

fn text_or_bytes(bytes: &[u8]) -> Value<'_> {
    std::str::from_utf8(bytes).map_or(Value::Bytes, Value::Text)
}
