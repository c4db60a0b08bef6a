// Package runtime allocates what the host writes into the plugin, under the names that the bindings use.
//
// The host allocates by cabi_realloc, and while that runs the plugin must not call the host. A garbage collection does: it
// reads clocks and polls timers (wasmtime issue 14318), and the call traps with "cannot leave component instance". An
// instance lives for one window, so there is nothing to collect: collection is off from the first moment on, and
// limits.memory of the sink bounds the window.
package runtime

import (
	"runtime"
	"runtime/debug"
	"unsafe"
)

func init() {
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(1 << 40)
}

// Allocate gives memory that stays where it is; nothing is ever moved or collected here.
func Allocate(_ *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return unsafe.Pointer(align)
	}
	// Words, so that each alignment of WIT is met.
	words := make([]uint64, (size+7)/8)
	return unsafe.Pointer(unsafe.SliceData(words))
}

// Unpin ends the life of what the host allocated for a call: the instance's end does.
func Unpin() {}

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, newSize uint32) unsafe.Pointer {
	fresh := Allocate(nil, uintptr(newSize), uintptr(align))
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(fresh), newSize), unsafe.Slice((*byte)(old), oldSize))
	}
	return fresh
}

// Handle is that of a resource, until it is taken.
type Handle struct{ value int32 }

// MakeHandle wraps one.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use is the handle; it must be there.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("the resource was given away")
	}
	return h.value
}

// Take is the handle, and nobody has it after that.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil is the same, or 0.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set gives it a handle again.
func (h *Handle) Set(value int32) { h.value = value }
