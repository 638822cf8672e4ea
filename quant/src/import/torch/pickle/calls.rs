//! The functions that have a meaning here, and what they describe.

use super::machine::Machine;
use super::{AXES_MAX, Name, Object, Storage, TensorParts, Value, object};
use crate::import::torch::error::PickleError;
use crate::import::torch::storage::Element;

/// What a function of the list below describes.
#[derive(Clone, Copy)]
enum Callable {
    /// An empty dictionary, or one of the pairs given.
    Dict,
    /// Storage, offset, shape, strides; what follows does not matter for the numbers but `metadata` at its place.
    Tensor { metadata: usize },
    /// The same, with the type at index 6.
    TypedTensor,
    /// Its first argument.
    First,
    /// A function, a type and the function's arguments.
    Inner,
}

/// Every function that means something; all others give opaque values.
const CALLABLES: [(&str, &str, Callable); 7] = [
    ("collections", "OrderedDict", Callable::Dict),
    ("torch._utils", "_rebuild_tensor", Callable::Tensor { metadata: 4 }),
    ("torch._utils", "_rebuild_tensor_v2", Callable::Tensor { metadata: 6 }),
    ("torch._utils", "_rebuild_tensor_v3", Callable::TypedTensor),
    ("torch._utils", "_rebuild_parameter", Callable::First),
    ("torch._utils", "_rebuild_parameter_with_state", Callable::First),
    ("torch._tensor", "_rebuild_from_type_v2", Callable::Inner),
];

fn callable_of(name: Name<'_>) -> Option<Callable> {
    CALLABLES.iter().find(|entry| (entry.0, entry.1) == (name.module, name.name)).map(|entry| entry.2)
}

impl<'a> Machine<'a> {
    /// Pushes what a call describes: data for the functions of the list, an opaque value for every other.
    pub(super) fn call(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Result<(), PickleError> {
        let (name, arguments) = self.unwrapped(callable, arguments)?;
        let call = Call { name, offset: self.offset, objects: &self.objects };
        let made = match callable_of(name) {
            None | Some(Callable::Inner) => Object::Opaque(name),
            Some(Callable::First) => {
                let first = *call.items(arguments)?.first().ok_or_else(|| call.wrong("needs an argument"))?;
                return self.push(first);
            }
            Some(Callable::Dict) => {
                let pairs = call.pairs(arguments)?;
                self.charge(pairs.len())?;
                Object::Dict(pairs)
            }
            Some(Callable::Tensor { metadata }) => call.tensor(arguments, None, metadata)?,
            Some(Callable::TypedTensor) => {
                let element = call.item(arguments, 6)?;
                call.tensor(arguments, Some(call.element(element)?), 7)?
            }
        };
        self.push_object(made)
    }

    /// The function and arguments inside `_rebuild_from_type_v2`; once, since it never holds itself.
    fn unwrapped(
        &self,
        callable: Value<'a>,
        arguments: Value<'a>,
    ) -> Result<(Name<'a>, Value<'a>), PickleError> {
        let name_of = |value| match object(&self.objects, value) {
            Some(Object::Global(name) | Object::Opaque(name)) => Ok(*name),
            _ => Err(self.operands("calls something that is no function")),
        };
        let name = name_of(callable)?;
        match callable_of(name) {
            Some(Callable::Inner) => {
                let call = Call { name, offset: self.offset, objects: &self.objects };
                Ok((name_of(call.item(arguments, 0)?)?, call.item(arguments, 2)?))
            }
            _ => Ok((name, arguments)),
        }
    }

    /// Pushes the storage that a persistent id describes, or an opaque value for ids of another kind.
    pub(super) fn persistent(&mut self, id: Value<'a>) -> Result<(), PickleError> {
        let name = Name { module: "pickle", name: "persistent_load" };
        let call = Call { name, offset: self.offset, objects: &self.objects };
        let made = match object(&self.objects, id) {
            Some(Object::Tuple(items)) if matches!(items.first(), Some(Value::Text("storage"))) => {
                call.storage(items)?
            }
            _ => Object::Opaque(name),
        };
        self.push_object(made)
    }
}

/// A call that is being understood.
struct Call<'o, 'a> {
    name: Name<'a>,
    offset: usize,
    objects: &'o [Object<'a>],
}

impl<'o, 'a> Call<'o, 'a> {
    fn wrong(&self, reason: &str) -> PickleError {
        PickleError::Arguments {
            offset: self.offset,
            callable: self.name.to_string(),
            reason: format!("{reason}; the file is damaged"),
        }
    }

    fn items(&self, value: Value<'a>) -> Result<&'o [Value<'a>], PickleError> {
        match object(self.objects, value) {
            Some(Object::Tuple(items) | Object::List(items)) => Ok(items),
            _ => Err(self.wrong("needs a tuple")),
        }
    }

    fn item(&self, value: Value<'a>, index: usize) -> Result<Value<'a>, PickleError> {
        self.items(value)?.get(index).copied().ok_or_else(|| self.wrong("needs more arguments"))
    }

    fn number(&self, value: Value<'a>) -> Result<usize, PickleError> {
        match value {
            Value::Int(number) => usize::try_from(number).map_err(|_| self.wrong("has a negative number")),
            _ => Err(self.wrong("needs a number that fits into 64 bits")),
        }
    }

    fn numbers(&self, value: Value<'a>) -> Result<Vec<usize>, PickleError> {
        let items = self.items(value)?;
        if items.len() > AXES_MAX {
            return Err(self.wrong("has more axes than a tensor can have"));
        }
        items.iter().map(|item| self.number(*item)).collect()
    }

    /// The pairs that Python 2 gave to the class, each a list or tuple of two.
    fn pairs(&self, arguments: Value<'a>) -> Result<Vec<(Value<'a>, Value<'a>)>, PickleError> {
        let Some(list) = self.items(arguments)?.first() else { return Ok(Vec::new()) };
        let pairs = self.items(*list)?.iter().map(|pair| match self.items(*pair)? {
            [key, value] => Ok((*key, *value)),
            _ => Err(self.wrong("needs pairs")),
        });
        pairs.collect()
    }

    fn tensor(
        &self,
        arguments: Value<'a>,
        element: Option<Element>,
        metadata: usize,
    ) -> Result<Object<'a>, PickleError> {
        let [storage, offset, shape, strides] = match self.items(arguments)? {
            [storage, offset, shape, strides, ..] => [*storage, *offset, *shape, *strides],
            _ => return Err(self.wrong("needs four arguments")),
        };
        let storage = match object(self.objects, storage) {
            Some(Object::Storage(storage)) => *storage,
            Some(Object::Opaque(name)) => {
                return Err(self.wrong(&format!("needs a storage, and `{name}` is not executed here")));
            }
            _ => return Err(self.wrong("needs a storage")),
        };
        let parts = TensorParts {
            storage,
            element: element.unwrap_or(storage.element),
            offset: self.number(offset)?,
            shape: self.numbers(shape)?,
            strides: self.numbers(strides)?,
        };
        if parts.shape.len() != parts.strides.len() {
            return Err(self.wrong("needs as many strides as axes"));
        }
        self.refuse_marked(arguments, metadata)?;
        Ok(Object::Tensor(Box::new(parts)))
    }

    /// A tensor marked as conjugate or negative has other values than its storage.
    fn refuse_marked(&self, arguments: Value<'a>, metadata: usize) -> Result<(), PickleError> {
        let Ok(metadata) = self.item(arguments, metadata) else { return Ok(()) };
        let Some(Object::Dict(pairs)) = object(self.objects, metadata) else { return Ok(()) };
        match pairs.iter().take(AXES_MAX).any(|(_, value)| matches!(value, Value::Bool(true))) {
            true => Err(self.wrong("has a tensor marked as conjugate or negative")),
            false => Ok(()),
        }
    }

    fn element(&self, value: Value<'a>) -> Result<Element, PickleError> {
        match object(self.objects, value) {
            Some(Object::Global(name)) if name.module == "torch" => {
                Element::of_type(name.name).ok_or_else(|| self.wrong(&format!("has the type `{name}`")))
            }
            _ => Err(self.wrong("needs a type")),
        }
    }

    /// `("storage", class, key, device, elements)`, in the legacy format followed by nothing or a view.
    fn storage(&self, items: &[Value<'a>]) -> Result<Object<'a>, PickleError> {
        let (class, key, elements, rest) = match items {
            [_, class, Value::Text(key), _, elements, rest @ ..] => (*class, *key, *elements, rest),
            _ => return Err(self.wrong("needs a class, a key, a device and a size")),
        };
        let element = match object(self.objects, class) {
            Some(Object::Global(name)) if matches!(name.module, "torch" | "torch.cuda" | "torch.storage") => {
                Element::of_storage(name.name).ok_or_else(|| {
                    self.wrong(&format!("has the storage class `{name}`, which is not read"))
                })?
            }
            _ => return Err(self.wrong("needs a storage class of torch")),
        };
        let elements = self.number(elements)?;
        let view = match rest.first() {
            None | Some(Value::None) => (0, elements),
            Some(view) => match self.items(*view)? {
                [_, start, length] => (self.number(*start)?, self.number(*length)?),
                _ => return Err(self.wrong("needs a view's key, start and size")),
            },
        };
        if view.0.checked_add(view.1).is_none_or(|end| end > elements) {
            return Err(self.wrong("has a view outside its storage"));
        }
        Ok(Object::Storage(Storage { element, key, elements, view }))
    }
}
