module wit_component

go 1.24

require go.bytecodealliance.org/pkg v0.4.0

// What the bindings need of it is these two small packages, written so that no allocation of the host's can start a
// garbage collection.
replace go.bytecodealliance.org/pkg => ./pkg
