// Writes a line for each pod to endpoint `out`: `pod=shop/cart-0 requests=1000 errors=10 mean_us=4259`.
//
// `bindings/` is what `wit-bindgen c wit --world formatter --out-dir bindings` made of the interface. What the host
// gives is ours to free, and what we give is freed by the bindings after the host has read it.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formatter.h"

typedef owlk8s_plugin_snapshots_target_t target_t;
typedef owlk8s_plugin_snapshots_total_t total_t;

// A text that grows.
typedef struct {
  char *bytes;
  size_t length, room;
} text_t;

static void add(text_t *text, const void *bytes, size_t length) {
  if (text->length + length > text->room) {
    text->room = (text->length + length) * 2 + 1024;
    text->bytes = realloc(text->bytes, text->room);
    if (text->bytes == NULL) abort();  // over the sink's limits.memory
  }
  memcpy(text->bytes + text->length, bytes, length);
  text->length += length;
}

// A name, with what would end a value as `_`.
static void add_name(text_t *text, const formatter_string_t *name) {
  for (size_t i = 0; i < name->len; i++) {
    unsigned char byte = name->ptr[i];
    char safe = byte <= ' ' || byte == '=' || byte == '"' || byte == 0x7f ? '_' : (char)byte;
    add(text, &safe, 1);
  }
}

static void add_line(text_t *text, const target_t *target, const total_t *total) {
  add(text, "pod=", 4);
  add_name(text, &target->namespace_);
  add(text, "/", 1);
  add_name(text, &target->pod);
  unsigned long long micros = total->duration_count == 0
                                  ? 0
                                  : total->duration_sum_ns / total->duration_count / 1000;
  char numbers[128];
  int length = snprintf(numbers, sizeof numbers, " requests=%llu errors=%llu mean_us=%llu\n",
                        (unsigned long long)total->requests, (unsigned long long)total->err5, micros);
  add(text, numbers, (size_t)length);
}

// There is nothing to configure: anything but `{}` is a mistake of the user's.
bool exports_formatter_validate(formatter_string_t *config, formatter_string_t *err) {
  bool empty = config->len == 2 && memcmp(config->ptr, "{}", 2) == 0;
  formatter_string_free(config);
  if (!empty) formatter_string_dup(err, "config must be empty: there is nothing to choose");
  return empty;
}

bool exports_formatter_format(formatter_string_t *config, formatter_borrow_snapshot_t snapshot,
                              formatter_list_payload_t *ret, formatter_string_t *err) {
  (void)err;
  formatter_string_free(config);
  owlk8s_plugin_snapshots_list_target_t targets;
  owlk8s_plugin_snapshots_list_total_t totals;
  owlk8s_plugin_snapshots_method_snapshot_targets(snapshot, &targets);
  owlk8s_plugin_snapshots_method_snapshot_totals(snapshot, &totals);
  text_t text = {0};
  for (size_t i = 0; i < targets.len; i++) add_line(&text, &targets.ptr[i], &totals.ptr[i]);
  owlk8s_plugin_snapshots_list_target_free(&targets);
  owlk8s_plugin_snapshots_list_total_free(&totals);
  owlk8s_plugin_snapshots_snapshot_drop_borrow(snapshot);

  ret->len = 1;
  ret->ptr = malloc(sizeof *ret->ptr);
  if (ret->ptr == NULL) abort();
  formatter_string_dup(&ret->ptr[0].endpoint, "out");
  formatter_string_dup(&ret->ptr[0].content_type, "text/plain; charset=utf-8");
  ret->ptr[0].body.ptr = (uint8_t *)text.bytes;
  ret->ptr[0].body.len = text.length;
  return true;
}
