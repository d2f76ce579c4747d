"""The watchers: rules and alerts, probes, certificates and backups, and Outrigger itself."""

from kit import GOOD, SEVERITY, Board, Limit, Panel, Variable, bars, graph, number, rows, timeline

STATES = [(None, SEVERITY["high"]), (1, SEVERITY["critical"])]
RULES = Board(
    "outrigger-rules", "Rules and alerts", "What the rules say, how long they take, and which find nothing to judge.",
    "prometheus_rule_group_rules", variables=[Variable("alertname", "alertname", "ALERTS", "Alert")], rows=[
    ("Alerts", [
        timeline("States", "Orange: pending, red: firing. One that comes and goes needs a longer `for`, or hysteresis.", [('max by (alertname, job, instance, severity) ((ALERTS{alertstate="firing", alertname=~"$alertname"} * 1) or (ALERTS{alertstate="pending", alertname=~"$alertname"} * 0))', "{{alertname}} {{instance}} {{job}}")], width=24, steps=STATES),
        graph("Firing and pending", "How many.", [('count by (alertstate) (ALERTS{alertname=~"$alertname"})', "{{alertstate}}")], "short", low=0),
        rows("Turns of the last hour", "How often the alerts of a rule began to fire or were resolved. Many: it flaps.", "topk(20, outrigger_rule_turns_last_hour{<sel>} > 0)", "short", hide=["__name__", "instance", "job"], rename={"Value": "Turns"}),
    ]),
    ("Evaluation", [
        graph("Duration by group", "Near the interval of the group: split it, or record what is expensive.", [("topk(10, prometheus_rule_group_last_duration_seconds{<sel>})", "{{rule_group}}")], "s", low=0),
        rows("Slowest groups", "Seconds that the last evaluation took.", "topk(20, prometheus_rule_group_last_duration_seconds{<sel>})", "s", hide=["__name__", "instance", "job"], rename={"Value": "Duration"}),
        graph("Failed and missed", "Not 0: a rule cannot be evaluated, or there is no time to. The log says why.", [("sum by (rule_group) (increase(prometheus_rule_evaluation_failures_total{<sel>}[10m]))", "failed {{rule_group}}"), ("sum by (rule_group) (increase(prometheus_rule_group_iterations_missed_total{<sel>}[10m]))", "missed {{rule_group}}")], "short", "OutriggerRuleFailing", low=0),
        graph("Evaluations", "Of rules, a second.", [("sum by (instance) (rate(prometheus_rule_evaluations_total{<sel>}[$__rate_interval]))", "{{instance}}")], "ops", low=0),
        rows("Groups without a series", "Groups whose last evaluation recorded nothing and raised nothing: silent, or blind because a metric is missing.", "prometheus_rule_group_last_evaluation_samples{<sel>} == 0", "short", hide=["__name__", "instance", "job", "Value"]),
        rows("Since the last evaluation", "Seconds. More than the interval: it hangs.", "topk(20, time() - prometheus_rule_group_last_evaluation_timestamp_seconds{<sel>})", "s", hide=["__name__", "instance", "job"], rename={"Value": "Ago"}),
    ]),
])

PROBES = Board(
    "outrigger-probes", "Probes, certificates and backups", "What the outside sees, what runs out, and whether there is a way back.",
    "probe_success", alerts="Probe.*|Certificate.*|Backup.*|SloBackup.*", rows=[
    ("Probes", [
        timeline("Probes", "Green: answers as it should.", [("probe_success{<sel>}", "{{instance}} {{endpoint}}")], steps=[(None, SEVERITY["critical"]), (1, GOOD)]),
        graph("Duration", "Of a probe, name look-up and handshake included.", [("probe_duration_seconds{<sel>}", "{{instance}} {{endpoint}}")], "s", low=0),
        graph("Phases of HTTP", "Where the time goes.", [("probe_http_duration_seconds{<sel>}", "{{phase}} {{instance}} {{endpoint}}")], "s", stacked=True, low=0),
        graph("Success over an hour", "Share of probes that went well.", [("avg_over_time(probe_success{<sel>}[1h])", "{{instance}} {{endpoint}}")], "percentunit", low=0, high=1),
    ]),
    ("Certificates", [
        bars("Days until expiry, of endpoints", "Blue: renew. Orange: renew now.", [("sort((probe_ssl_earliest_cert_expiry{<sel>} - time()) / 86400)", "{{instance}} {{endpoint}}")], "d", Limit("CertificateRenewalDue", nth=2, scale=1 / 86400), Limit("CertificateExpiresSoon", nth=2, scale=1 / 86400), alerts=["CertificateExpired"]),
        bars("Days until expiry, of files", "The same, of certificates in files.", [("sort((x509_cert_not_after - time()) / 86400)", "{{subject_CN}} {{filepath}}")], "d", Limit("CertificateRenewalDue", nth=2, scale=1 / 86400), Limit("CertificateExpiresSoon", nth=2, scale=1 / 86400), alerts=["CertificateExpired", "CertificateNotYetValid"]),
        graph("Sources that cannot be read", "Not 0: what is there cannot be watched.", [("sum by (source_name) (increase(x509_source_errors_total[15m]))", "errors {{source_name}}"), ("1 - x509_source_up", "down {{source_name}}"), ("x509_cert_error", "no certificate {{filepath}}")], "short", alerts=["CertificateSourceUnreadable"], low=0, width=24),
    ]),
    ("Backups", [
        bars("Age over period", "1: due. Above 1.5 it is overdue: see why the job did not run.", [("sort_desc((time() - outrigger_backup_last_success_timestamp_seconds) / outrigger_backup_period_seconds)", "{{backup}}")], "short", Limit("BackupNotFinished"), alerts=["BackupNeverSeen", "BackupUnreadable", "SloBackupFreshnessBurn"], low=0, width=8),
        graph("Size", "Of the newest backup, and the usual. Half of the usual: something is missing in it.", [("outrigger_backup_size_bytes", "{{backup}}"), ("outrigger_backup_usual_size_bytes", "usual {{backup}}")], "bytes", alerts=["BackupEmpty", "BackupShrunk"], low=0, width=8),
        rows("Days since a restore was tried", "A backup that was never restored is a hope.", "sort_desc((time() - outrigger_backup_restore_test_timestamp_seconds) / 86400)", "d", alerts=["BackupRestoreTestOverdue"], hide=["__name__", "job", "instance"], rename={"Value": "Days"}, width=8),
    ]),
])

SELF = Board(
    "outrigger-self", "Outrigger itself", "What it costs, what it keeps, whom it tells, and which of its parts fail.",
    "outrigger_build_info", alerts="Outrigger.*|Watchdog", rows=[
    ("Cost", [
        number("Memory", "Resident memory of the process.", "process_resident_memory_bytes{<sel>} and on (instance, job) outrigger_build_info", "bytes", width=6),
        number("CPU", "CPUs used.", "rate(process_cpu_seconds_total{<sel>}[$__rate_interval]) and on (instance, job) outrigger_build_info", "percentunit", width=6, decimals=2),
        number("Series", "Known to the store, of those that there may be.", "outrigger_store_series{<sel>} / (outrigger_store_series_limit{<sel>} > 0)", "percentunit", Limit("OutriggerStoreNearLimit", nth=1), width=6),
        number("Last reload", "1: went well. 0: the file has a mistake, and the old settings hold; the log says where.", "outrigger_config_last_reload_successful{<sel>}", "short", steps=[(None, SEVERITY["high"]), (1, GOOD)], width=6),
    ]),
    ("Collecting", [
        graph("Slowest collectors", "Time of each in the last pass. One that takes long: turn it off, or ask why.", [("topk(8, node_scrape_collector_duration_seconds{<sel>})", "{{collector}}")], "s", low=0),
        graph("Collectors that fail", "Errors of 10 minutes. The log says why.", [("sum by (collector) (increase(outrigger_collector_errors_total{<sel>}[10m]))", "{{collector}}")], "short", "OutriggerCollectorFailing", low=0),
        graph("Duration of a pass", "Mean time of all collectors together.", [("rate(outrigger_collect_pass_duration_seconds_sum{<sel>}[$__rate_interval]) / rate(outrigger_collect_pass_duration_seconds_count{<sel>}[$__rate_interval])", "{{instance}}")], "s", low=0),
        graph("Requests", "Answered by status.", [("sum by (instance, code) (rate(outrigger_http_requests_total{<sel>}[$__rate_interval]))", "{{code}}")], "reqps", low=0),
    ]),
    ("Store", [
        graph("Samples taken", "A second.", [("rate(outrigger_store_samples_added_total{<sel>}[$__rate_interval])", "{{instance}}")], "short", low=0),
        graph("Samples refused", "Out of order, duplicate, over the limit of series. Over the limit: raise storage.max_series or drop series.", [("rate(outrigger_store_samples_out_of_order_total{<sel>}[$__rate_interval])", "out of order"), ("rate(outrigger_store_samples_duplicate_total{<sel>}[$__rate_interval])", "duplicate"), ("rate(outrigger_store_samples_over_limit_total{<sel>}[$__rate_interval])", "over the limit")], "short", alerts=["OutriggerStoreNearLimit"], low=0),
        graph("Size", "Of the file, and of the pages in it.", [("outrigger_store_file_bytes{<sel>}", "file"), ("outrigger_store_page_bytes{<sel>}", "pages")], "bytes", low=0),
        graph("Writes that fail", "Not 0: the disk is full or broken. What runs goes on in memory.", [("rate(outrigger_store_commit_failures_total{<sel>}[$__rate_interval])", "commits"), ("outrigger_store_paused{<sel>}", "paused")], "short", low=0),
    ]),
    ("Telling", [
        graph("Alerts handed on", "To each Alertmanager.", [("rate(prometheus_notifications_sent_total{<sel>}[$__rate_interval])", "{{alertmanager}}")], "short", low=0),
        graph("Deliveries that fail", "Of 5 minutes, by Alertmanager and receiver.", [("sum by (alertmanager) (increase(prometheus_notifications_errors_total{<sel>}[5m]))", "{{alertmanager}}"), ("sum by (receiver) (increase(outrigger_notifications_failed_total{<sel>}[5m]))", "{{receiver}}")], "short", "OutriggerNotificationFailing", low=0),
        graph("Owed", "Notifications that a webhook has not taken yet. They stay in the store.", [("outrigger_notifications_owed{<sel>}", "{{receiver}}")], "short", low=0),
        graph("Remote write behind", "Seconds between what was taken and what was sent. Growing: the receiver is slow or away.", [("prometheus_remote_storage_highest_timestamp_in_seconds{<sel>} - on (instance, job) group_right () prometheus_remote_storage_queue_highest_sent_timestamp_seconds{<sel>}", "{{remote_name}}")], "s", low=0),
    ]),
])

BOARDS = [RULES, PROBES, SELF]
