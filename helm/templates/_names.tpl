{{- define "audit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* A CronJob may have 52 characters: 45 and "-verify". */}}
{{- define "audit.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" }}
{{- else if contains (include "audit.name" .) .Release.Name }}
{{- .Release.Name | trunc 45 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "audit.name" .) | trunc 45 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "audit.selector" -}}
app.kubernetes.io/name: {{ include "audit.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "audit.labels" -}}
{{ include "audit.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "audit.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "audit.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "audit.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The port of HTTP_ADDR. */}}
{{- define "audit.port" -}}
{{- .Values.config.HTTP_ADDR | default ":8080" | splitList ":" | last }}
{{- end }}

{{/* The Secret that is mounted, "" where there is none. */}}
{{- define "audit.secretName" -}}
{{- if .Values.secrets.existingSecret }}
{{- .Values.secrets.existingSecret }}
{{- else if .Values.secrets.values }}
{{- include "audit.fullname" . }}
{{- end }}
{{- end }}

{{/* Variable -> key in that Secret, as YAML. */}}
{{- define "audit.secretKeys" -}}
{{- $keys := dict }}
{{- if .Values.secrets.existingSecret }}
{{- range $variable, $key := .Values.secrets.keys }}
{{- if $key }}{{ $_ := set $keys $variable $key }}{{ end }}
{{- end }}
{{- else }}
{{- range $variable, $_ := .Values.secrets.values }}{{ $_ := set $keys $variable $variable }}{{ end }}
{{- end }}
{{- toYaml $keys }}
{{- end }}

{{/* What is missing for any start at all, all of it in one go. The connector checks the rest. */}}
{{- define "audit.require" -}}
{{- $c := .Values.config }}
{{- $keys := include "audit.secretKeys" . | fromYaml }}
{{- $wrong := list }}
{{- $fleet := or .Values.organisations.list $c.ORGS_FILE }}
{{- if not (or $fleet $c.GENESYS_REGION (and $c.GENESYS_API_URL $c.GENESYS_LOGIN_URL)) }}
{{- $wrong = append $wrong "config.GENESYS_REGION is not set (nor are both GENESYS_API_URL and GENESYS_LOGIN_URL)" }}
{{- end }}
{{- range list "GENESYS_CLIENT_ID" "GENESYS_CLIENT_SECRET" }}
{{- if not (or $fleet (get $c .) (get $c (printf "%s_FILE" .)) (hasKey $keys .)) }}
{{- $wrong = append $wrong (printf "%s is not set: name a Secret in secrets.existingSecret, and the key in secrets.keys.%s" . .) }}
{{- end }}
{{- end }}
{{- if not $c.KAFKA_BROKERS }}
{{- $wrong = append $wrong "config.KAFKA_BROKERS is not set" }}
{{- end }}
{{- range $variable, $_ := $keys }}
{{- range list $variable (printf "%s_FILE" $variable) }}
{{- if get $c . }}
{{- $wrong = append $wrong (printf "config.%s is set, and secrets mounts %s too" . $variable) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and .Values.maskRules $c.MASK_FILE }}
{{- $wrong = append $wrong "config.MASK_FILE is set, and maskRules mounts a file of rules too" }}
{{- end }}
{{- if and .Values.organisations.list $c.ORGS_FILE }}
{{- $wrong = append $wrong "config.ORGS_FILE is set, and organisations mounts a file of them too" }}
{{- end }}
{{- if and $fleet $c.ORG_NAME }}
{{- $wrong = append $wrong "config.ORG_NAME is set, and there are organisations with names of their own" }}
{{- end }}
{{- if $wrong }}
{{- fail (printf "\n\n  %s\n" (join "\n  " $wrong)) }}
{{- end }}
{{- end }}
