{{/* What every pod of the release has in common: the connector with its settings, whatever the command. */}}

{{- define "audit.podBase" -}}
serviceAccountName: {{ include "audit.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- if or (include "audit.secretName" .) .Values.maskRules .Values.organisations.list .Values.extraVolumes }}
volumes:
  {{- if .Values.maskRules }}
  - name: mask-rules
    configMap:
      name: {{ include "audit.fullname" . }}-mask-rules
  {{- end }}
  {{- if .Values.organisations.list }}
  - name: organisations
    configMap:
      name: {{ include "audit.fullname" . }}-organisations
  {{- range .Values.organisations.secrets }}
  - name: organisation-{{ . }}
    secret:
      secretName: {{ . }}
      defaultMode: 0440
  {{- end }}
  {{- end }}
  {{- with include "audit.secretName" . }}
  - name: secrets
    secret:
      secretName: {{ . }}
      defaultMode: 0440
      items:
        {{- range $variable, $key := include "audit.secretKeys" $ | fromYaml }}
        - key: {{ $key | quote }}
          path: {{ $variable }}
        {{- end }}
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "audit.containerBase" -}}
image: {{ include "audit.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
env:
  {{- range $variable, $value := .Values.config }}
  {{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) }}
  - name: {{ $variable }}
    value: {{ toString $value | quote }}
  {{- end }}
  {{- end }}
  {{- range $variable, $_ := include "audit.secretKeys" . | fromYaml }}
  - name: {{ $variable }}_FILE
    value: /etc/genesys-audit/secrets/{{ $variable }}
  {{- end }}
  {{- if .Values.maskRules }}
  - name: MASK_FILE
    value: /etc/genesys-audit/mask/rules.yaml
  {{- end }}
  {{- if .Values.organisations.list }}
  - name: ORGS_FILE
    value: /etc/genesys-audit/organisations/file/orgs.yaml
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- if or (include "audit.secretName" .) .Values.maskRules .Values.organisations.list .Values.extraVolumeMounts }}
volumeMounts:
  {{- if .Values.maskRules }}
  - name: mask-rules
    mountPath: /etc/genesys-audit/mask
    readOnly: true
  {{- end }}
  {{- if .Values.organisations.list }}
  - name: organisations
    mountPath: /etc/genesys-audit/organisations/file
    readOnly: true
  {{- range .Values.organisations.secrets }}
  - name: organisation-{{ . }}
    mountPath: /etc/genesys-audit/organisations/{{ . }}
    readOnly: true
  {{- end }}
  {{- end }}
  {{- if include "audit.secretName" . }}
  - name: secrets
    mountPath: /etc/genesys-audit/secrets
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
