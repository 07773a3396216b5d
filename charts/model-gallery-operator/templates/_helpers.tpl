{{- define "mgo.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "mgo.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "mgo.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "mgo.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "mgo.selector" -}}
app.kubernetes.io/name: {{ include "mgo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "mgo.labels" -}}
{{ include "mgo.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: model-gallery
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mgo.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "mgo.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name must be set where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* How the sidecar is added: policy, webhook, or empty for not at all. */}}
{{- define "mgo.injection" -}}
{{- $served := false }}
{{- range list "v1" "v1beta1" "v1alpha1" }}
{{- if $.Capabilities.APIVersions.Has (printf "admissionregistration.k8s.io/%s/MutatingAdmissionPolicy" .) }}
{{- $served = true }}
{{- end }}
{{- end }}
{{- if .Values.sidecar.injection }}
{{- if eq .Values.sidecar.webhook.use "Always" }}webhook
{{- else if $served }}policy
{{- else if eq .Values.sidecar.webhook.use "Auto" }}webhook
{{- end }}
{{- end }}
{{- end }}

{{- define "mgo.webhookSelector" -}}
app.kubernetes.io/name: {{ include "mgo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: webhook
{{- end }}

{{- define "mgo.webhookLabels" -}}
{{ include "mgo.webhookSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: model-gallery
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "mgo.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* JSON list of the watched namespaces; empty for the whole cluster. */}}
{{- define "mgo.namespaces" -}}
{{- if eq .Values.rbac.scope "cluster" }}
{{- list | toJson }}
{{- else }}
{{- default (list .Release.Namespace) .Values.watchNamespaces | toJson }}
{{- end }}
{{- end }}

{{- /* All that the operator may do. No Secrets, no wildcards. */}}
{{- define "mgo.rules" -}}
- apiGroups: [modelgallery.dev]
  resources: [galleries, models]
  verbs: [get, list, watch, patch]
# Galleries keep Models of their own (spec.install).
- apiGroups: [modelgallery.dev]
  resources: [models]
  verbs: [create, delete]
- apiGroups: [modelgallery.dev]
  resources: [galleries/status, models/status]
  verbs: [patch]
# Children name their Model as owner with blockOwnerDeletion, which takes this right.
- apiGroups: [modelgallery.dev]
  resources: [galleries/finalizers, models/finalizers]
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
# What pods that serve cost, where the cluster tells it.
- apiGroups: [metrics.k8s.io]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
