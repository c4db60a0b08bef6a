// Package types has the types of WIT that Go lacks, under the names that the bindings use.
package types

// ResultOk and ResultErr are the tags of a Result.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Unit is the absence of a value.
type Unit struct{}

// Result is a value or an error.
type Result[T, E any] struct {
	tag uint8
	ok  T
	err E
}

// Ok is a result with a value.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err is a result with an error.
func Err[T, E any](value E) Result[T, E] { return Result[T, E]{tag: ResultErr, err: value} }

// Tag says which it is.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok is the value of a result that has one.
func (r Result[T, E]) Ok() T { return r.ok }

// Err is the error of a result that has one.
func (r Result[T, E]) Err() E { return r.err }

// OptionNone and OptionSome are the tags of an Option.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option is a value or nothing.
type Option[T any] struct {
	tag   uint8
	value T
}

// Some is an option with a value.
func Some[T any](value T) Option[T] { return Option[T]{tag: OptionSome, value: value} }

// None is an option without one.
func None[T any]() Option[T] { return Option[T]{} }

// Tag says which it is.
func (o Option[T]) Tag() uint8 { return o.tag }

// Some is the value of an option that has one.
func (o Option[T]) Some() T { return o.value }

// Tuple2 is a pair.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}
