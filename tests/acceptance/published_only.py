"""The acceptance tests that cannot pass by the published API alone, each with its reason.

`pytest tests/acceptance --published-only` lets the control planes have nothing below `/flash/v1/`. What is listed here
must fail then; all else must pass.
"""

_OUTPUT = "what jobs write is told on the event stream and by /flash/v1/jobs alone"
_NOTICE = "notices come on the event stream alone"
_CAUSE = "why a job waits is told by /flash/v1/ alone"
_PROJECT = "the project of an endpoint, which `flash status` shows, is told by /flash/v1/status alone"
_SIZE = "it is more than a call or a job's output carries, and large values travel by /flash/v1/values alone"
_KEYS = "keys are made by /flash/v1/keys alone"
_OWN = "the code of an endpoint is brought by /flash/v1/artifacts alone"
_ROUTES = "the code of routes is brought by /flash/v1/artifacts alone"

OTHERS = (
    "test_apps.py",
    "test_builds.py",
    "test_client_channel.py",
    "test_deploy.py",
    "test_deployed_calls.py",
    "test_dev.py",
    "test_direct_calls.py",
    "test_flash_call.py",
    "test_flash_command.py",
    "test_large_direct_calls.py",
    "test_large_values.py",
    "test_privacy.py",
    "test_server_for_others.py",
)
"""Files that are not about the main job: apps, also in development, calls in frames and to lent workers, shared memory,
and a server for others, of /flash/v1/ alone."""

REASONS: dict[str, str] = {
    "test_calls.py::test_a_notebook": _OUTPUT,
    "test_calls.py::test_output_appears_as_it_happens_and_before_the_result": _OUTPUT,
    "test_call_forms.py::test_a_pause_before_a_retry_survives_a_restart_and_is_told": _CAUSE,
    "test_causes.py::test_each_waiting_job_says_why": _CAUSE,
    "test_classes.py::test_a_dropped_object_is_closed": "objects are dropped by /flash/v1/instances alone",
    "test_classes.py::test_a_lost_object_is_built_anew_and_the_caller_is_told": _NOTICE,
    "test_disk_limit.py::test_a_warning_then_an_error_and_what_was_accepted_stays": (
        "what is used of the disk is told by /flash/v1/status alone"
    ),
    "test_environments.py::test_a_caller_whose_numpy_differs_from_what_a_dependency_wants": _NOTICE,
    "test_fork_server.py::test_what_cannot_be_imported_ahead_is_told_and_the_call_runs": _NOTICE,
    "test_gpus.py::test_a_machine_without_a_gpu_runs_on_the_cpu_and_says_so_once_to_each_program": _NOTICE,
    "test_gpus.py::test_another_gpu_than_asked_for_is_used_and_said": _NOTICE,
    "test_images.py::test_a_server_runs_images_of_others_where_it_has_agreed": _KEYS,
    "test_logs.py::test_a_burst_of_several_workers_reaches_who_follows_whole": _OUTPUT,
    "test_logs.py::test_what_workers_write_that_answer_requests": _ROUTES,
    "test_logs.py::test_what_a_child_wrote_before_sigkill_is_kept_over_attempts_and_restarts": _OUTPUT,
    "test_memory.py::test_a_call_that_needs_more_memory_than_its_size_has": _OUTPUT,
    "test_parameters.py::test_a_driver_that_is_too_old_is_named_once": _NOTICE,
    "test_own_code.py::test_a_class_has_one_object_for_each_worker_and_the_method_is_named": _OWN,
    "test_own_code.py::test_a_function_takes_plain_json_and_gives_some": _OWN,
    "test_own_code.py::test_accepted_jobs_keep_their_version_over_a_sigkill": _OWN,
    "test_own_code.py::test_calls_of_a_batched_function_are_put_together": _OWN,
    "test_own_code.py::test_jobs_run_the_version_that_was_there_when_they_came": _OWN,
    "test_own_code.py::test_nothing_that_a_caller_sends_is_run": _OWN,
    "test_own_code.py::test_under_load_no_job_fails_at_a_switch_and_none_that_comes_after_it_runs_old_code": _OWN,
    "test_own_code.py::test_what_is_large_or_many_or_goes_wrong": _OWN,
    "test_provisioning.py::test_a_change_of_env_keeps_the_endpoint_and_rolls_its_workers": _PROJECT,
    "test_provisioning.py::test_a_change_of_workers_keeps_the_loaded_model": _PROJECT,
    "test_provisioning.py::test_edited_code_runs_on_the_next_call_of_the_same_endpoint": _PROJECT,
    "test_pythons.py::test_a_platform_may_load_no_pickles": (
        "whose pickles are loaded is told by /flash/v1/capabilities alone"
    ),
    "test_reattach.py::test_ctrl_c_detaches_and_the_job_goes_on": _OUTPUT,
    "test_reattach.py::test_the_call_of_a_killed_client_runs_once_and_its_result_is_there": _OUTPUT,
    "test_reattach.py::test_who_attaches_takes_nothing_from_the_client_that_waits": _OUTPUT,
    "test_restarts.py::test_a_result_that_finds_no_room_on_the_disk_is_an_error_and_the_endpoint_lives": _SIZE,
    "test_routes.py::test_a_whole_application_with_its_lifespan_and_a_websocket": _ROUTES,
    "test_routes.py::test_changed_code_and_env_are_rolled_without_a_failed_request": _ROUTES,
    "test_routes.py::test_routes_of_files_are_served_by_another_python": _ROUTES,
    "test_routes.py::test_routes_answer_as_fastapi_has_it_and_what_they_print_is_seen": _ROUTES,
    "test_routes.py::test_who_leaves_ends_the_request_and_a_killed_worker_is_an_error_of_that_request_alone": _ROUTES,
    "test_stopping.py::test_one_that_drains_says_so_and_the_second_time_stops_at_once": _CAUSE,
    "test_upgrade.py::test_a_program_between_two_event_loops_keeps_the_older_one": (
        "a program without a stream is not seen, so the control plane leaves before a newer one has come"
    ),
    "test_upgrade.py::test_keys_that_one_version_has_made_hold_with_another": _KEYS,
    "test_volumes.py::test_users_of_a_server_have_volumes_of_their_own_and_their_code_sees_no_others": _KEYS,
    "test_volumes.py::test_what_is_put_is_seen_by_functions_and_what_they_write_is_fetched": (
        "files of network volumes come and go by /flash/v1/volumes alone"
    ),
    "test_workers.py::test_a_deleted_endpoint_cancels_its_jobs_and_ends_its_workers": (
        "jobs are asked for by their endpoint, so how those of a deleted one ended cannot be"
    ),
    "test_workers.py::test_four_calls_overlap_in_one_worker_and_its_output_reaches_the_caller": _OUTPUT,
    "test_workers.py::test_sixty_four_megabytes_go_there_and_back": _SIZE,
}
"""By the test's name: file and function, with its parameters where only some of them cannot pass."""
