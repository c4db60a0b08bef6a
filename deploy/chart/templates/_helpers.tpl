{{- define "owlk8s.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "owlk8s.serviceAccount" -}}
{{- default (include "owlk8s.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "owlk8s.selector" -}}
app.kubernetes.io/name: owlk8s
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "owlk8s.labels" -}}
{{ include "owlk8s.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "owlk8s.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end -}}

{{- define "owlk8s.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* A value in TOML's inline form. `toToml` would write every number as a float: YAML numbers are floats to Helm. */}}
{{- define "owlk8s.toml" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true }}{{- range $key, $value := . }}{{- if not (kindIs "invalid" $value) }}{{- if not $first }},{{ end }}{{- $first = false }} {{ $key | toJson }} = {{ include "owlk8s.toml" $value }}{{- end }}{{- end }} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $value := . }}{{- if $index }}, {{ end }}{{ include "owlk8s.toml" $value }}{{- end }}]
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end -}}

{{/* The configuration file. */}}
{{- define "owlk8s.config" -}}
{{- $probe := dict "include_probes" .Values.probe.includeProbes "client" .Values.probe.client "targets" .Values.probe.targets "rows" .Values.probe.rows "connections" .Values.probe.connections -}}
{{- $config := dict "interval" .Values.interval "log" .Values.logLevel "admin" (dict "listen" .Values.admin.listen) "probe" $probe "discovery" (dict "kubernetes" (dict "include" .Values.discovery.include)) -}}
{{- $dirs := list -}}
{{- range .Values.plugins }}{{- $dirs = append $dirs (printf "/etc/owlk8s/plugins/%s" .name) -}}{{- end -}}
{{- $plugins := dict "cache_dir" "/var/cache/owlk8s" "state_dir" (ternary "/var/lib/owlk8s" "" (ne .Values.stateDir "")) -}}
{{- if $dirs }}{{- $_ := set $config "plugin_dirs" $dirs -}}{{- end -}}
{{- $_ := set $config "plugins" $plugins -}}
{{- $config = mustMergeOverwrite $config (deepCopy .Values.extraConfig) -}}
{{- $sinks := list -}}
{{- if .Values.prometheus.enabled -}}
{{- $sink := dict "name" "prometheus" "plugin" "prometheus" "endpoints" (dict "metrics" (dict "kind" "serve" "listen" .Values.prometheus.listen)) -}}
{{- if .Values.prometheus.select }}{{- $_ := set $sink "select" .Values.prometheus.select -}}{{- end -}}
{{- if .Values.prometheus.config }}{{- $_ := set $sink "config" .Values.prometheus.config -}}{{- end -}}
{{- $sinks = append $sinks $sink -}}
{{- end -}}
{{- $sinks = concat $sinks .Values.sinks -}}
# Made by the chart; `owlk8s config --config FILE` prints it with every default.
{{- range $key, $value := $config }}
{{ $key }} = {{ include "owlk8s.toml" $value }}
{{- end }}
{{- range $sinks }}

[[sinks]]
{{- range $key, $value := . }}
{{ $key }} = {{ include "owlk8s.toml" $value }}
{{- end }}
{{- end }}
{{ end -}}
