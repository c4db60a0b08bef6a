// Package export_wit_world is the plugin: a JSON object for each pod, one a line, to endpoint out. The bindings call
// Validate and Format.
package export_wit_world

import (
	"bytes"
	"encoding/json"

	"go.bytecodealliance.org/pkg/wit/types"
	"wit_component/owlk8s_plugin_types"
	"wit_component/wit_world"
)

// config is the sink's config table.
type config struct {
	// AtLeast: pods with fewer requests are left out.
	AtLeast uint64 `json:"at_least"`
}

// line is one pod's.
type line struct {
	Window    uint64 `json:"window"`
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	Requests  uint64 `json:"requests"`
	Errors    uint64 `json:"errors"`
	MeanUs    uint64 `json:"mean_us"`
}

func parse(text string) (config, error) {
	parsed := config{AtLeast: 1}
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&parsed)
	return parsed, err
}

// Validate says what is wrong with the config; the user reads it.
func Validate(text string) types.Result[types.Unit, string] {
	if _, err := parse(text); err != nil {
		return types.Err[types.Unit](err.Error())
	}
	return types.Ok[types.Unit, string](types.Unit{})
}

// Format makes the lines of one window.
func Format(text string, snapshot *wit_world.Snapshot) types.Result[[]wit_world.Payload, string] {
	defer snapshot.Drop() // it was lent, and is given back before the call ends
	config, err := parse(text)
	if err != nil {
		return types.Err[[]wit_world.Payload](err.Error())
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	window := snapshot.Window().Sequence
	totals := snapshot.Totals()
	for index, target := range snapshot.Targets() {
		total := totals[index]
		if total.Requests < config.AtLeast {
			continue
		}
		pod := line{
			Window: window, Namespace: target.Namespace, Pod: target.Pod,
			Requests: total.Requests, Errors: total.Err5,
		}
		if total.DurationCount > 0 {
			pod.MeanUs = total.DurationSumNs / total.DurationCount / 1000
		}
		if err := encoder.Encode(pod); err != nil {
			return types.Err[[]wit_world.Payload](err.Error())
		}
	}
	return types.Ok[[]wit_world.Payload, string]([]owlk8s_plugin_types.Payload{
		{Endpoint: "out", ContentType: "application/x-ndjson", Body: body.Bytes()},
	})
}
