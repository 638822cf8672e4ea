//! Operations that make and fill containers.

use super::machine::Machine;
use super::{Object, Value, object};
use crate::import::torch::error::PickleError;

impl<'a> Machine<'a> {
    /// Operations on containers and calls; `false` for every other operation.
    pub(super) fn container(&mut self, opcode: u8) -> Result<bool, PickleError> {
        match opcode {
            b')' => self.push_object(Object::Tuple(Vec::new()))?,
            b't' => {
                let items = self.since_mark()?;
                self.push_object(Object::Tuple(items))?;
            }
            0x85 => self.short_tuple(1)?,
            0x86 => self.short_tuple(2)?,
            0x87 => self.short_tuple(3)?,
            b']' => self.push_object(Object::List(Vec::new()))?,
            b'l' => {
                let items = self.since_mark()?;
                self.push_object(Object::List(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)?;
            }
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            b'd' => {
                let items = self.since_mark()?;
                self.push_object(Object::Dict(Vec::new()))?;
                self.set_items(&items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.since_mark()?;
                self.set_items(&items)?;
            }
            0x8f => self.push_object(Object::Set)?,
            0x91 => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
                self.push_object(Object::Set)?;
            }
            0x90 => {
                let mark = self.mark()?;
                self.stack.truncate(mark);
                self.top()?;
            }
            _ => return self.calls(opcode),
        }
        Ok(true)
    }

    fn calls(&mut self, opcode: u8) -> Result<bool, PickleError> {
        match opcode {
            // REDUCE calls a function, NEWOBJ a class; the same list says what either may mean.
            b'R' | 0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.call(callable, arguments)?;
            }
            // NEWOBJ_EX has keyword arguments, which nothing that is known here takes.
            0x92 => {
                self.pop()?;
                let (_, class) = (self.pop()?, self.pop()?);
                self.opaque_of(class)?;
            }
            // OBJ and INST: a class and its arguments from the mark on.
            b'o' => {
                let class = self.since_mark()?.first().copied();
                self.opaque_of(class.ok_or_else(|| self.operands("has no class"))?)?;
            }
            b'i' => {
                let name = self.lines()?;
                let mark = self.mark()?;
                self.stack.truncate(mark);
                self.push_object(Object::Opaque(name))?;
            }
            // BUILD gives an object its attributes; a state dict's are versions, every other object is opaque.
            b'b' => {
                self.pop()?;
                self.top()?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn opaque_of(&mut self, class: Value<'a>) -> Result<(), PickleError> {
        match object(&self.objects, class) {
            Some(Object::Global(name) | Object::Opaque(name)) => self.push_object(Object::Opaque(*name)),
            _ => Err(self.operands("makes an object of something that is no class")),
        }
    }

    /// Takes what lies above the last mark, in as much memory as it needs.
    fn since_mark(&mut self) -> Result<Vec<Value<'a>>, PickleError> {
        let mark = self.mark()?;
        Ok(self.stack.drain(mark..).collect())
    }

    fn short_tuple(&mut self, length: usize) -> Result<(), PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(length).filter(|start| *start >= floor);
        let start = start.ok_or_else(|| self.operands("finds too few values"))?;
        let items = self.stack.drain(start..).collect();
        self.push_object(Object::Tuple(items))
    }

    fn append(&mut self, items: &[Value<'a>]) -> Result<(), PickleError> {
        match self.target()? {
            Some(Object::List(list)) => list.extend_from_slice(items),
            Some(Object::Opaque(_) | Object::Set) => {}
            _ => return Err(self.operands("appends to something that is no list")),
        }
        Ok(())
    }

    /// Puts keys and values, in turns, into the dictionary on top of the stack.
    fn set_items(&mut self, items: &[Value<'a>]) -> Result<(), PickleError> {
        if !items.len().is_multiple_of(2) {
            return Err(self.operands("has a key without a value"));
        }
        match self.target()? {
            Some(Object::Dict(pairs)) => pairs.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Some(Object::Opaque(_)) => {}
            _ => return Err(self.operands("puts an entry into something that is no dict")),
        }
        Ok(())
    }

    fn target(&mut self) -> Result<Option<&mut Object<'a>>, PickleError> {
        match self.top()? {
            Value::Object(number) => Ok(self.objects.get_mut(number)),
            _ => Ok(None),
        }
    }
}
