"""What all managed (lifecycle) nodes of the package share.

They start by themselves where they are told to, answer impossible transitions instead of ending,
serve messages only while active, cannot be killed by one, publish diagnostics once a second, and
end cleanly at Ctrl-C.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any
from typing import NoReturn

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from medbot_llm.domain import MedbotError
from medbot_llm.nodes.log import log_to_ros
from medbot_llm.nodes.parameter_table import ParameterTable
from medbot_llm.nodes.status import PROBLEM_SHOWN_S

DIAGNOSTICS_PERIOD_S = 1.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LAST_WORDS = Duration(seconds=0.3)
"""How long a publisher that goes waits for its subscribers to have fetched everything."""
MAX_PROBLEM_LINES = 5
"""Lines of the log that wrong messages may write between two ticks of DIAGNOSTICS_PERIOD_S."""

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def logging_failures(transition: Transition) -> Transition:
    """Log what a transition raises; rclpy makes it an error without a word."""

    @functools.wraps(transition)
    def logged(node: Any, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(traceback.format_exc())
            raise

    return logged


class ManagedNode(LifecycleNode):
    """A managed node. A node of this package says what it is configured with (`on_configure`), how
    it begins and ends to serve, what it frees (`_release`), and its diagnostics.
    """

    _settings: ParameterTable

    def __init__(
        self, name: str, parameters: Callable[[LifecycleNode], ParameterTable], **kwargs: Any
    ) -> None:
        super().__init__(name, **kwargs)
        self._settings = parameters(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._event_subscriptions: list[Subscription] = []
        self._control_services: list[Service] = []
        self._managed_publishers: list[LifecyclePublisher] = []
        self._problem = ""
        self._problem_at = float("-inf")
        self._logged_problems: set[str] = set()
        self._unlogged_problems = 0
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._on_tick)
        self._refuse_impossible_transitions()
        if self._settings["autostart"]:
            self._autostart = self.create_timer(0.0, self._on_autostart)

    # --- what a node says of itself --------------------------------------------------------------

    @property
    def is_serving(self) -> bool:
        """Whether messages are served now."""
        raise NotImplementedError

    def _stop_serving(self) -> None:
        """End what activating began."""
        raise NotImplementedError

    def _diagnose(self) -> DiagnosticArray:
        """How the node stands; the header is filled in."""
        raise NotImplementedError

    # --- lifecycle -------------------------------------------------------------------------------

    @logging_failures
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop serving."""
        self._stop_serving()
        return super().on_deactivate(state)

    @logging_failures
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop serving and free everything, from whatever state."""
        self.close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured again."""
        self.get_logger().error("a transition failed; everything is freed, configure again")
        return self.on_shutdown(state)

    def close(self) -> None:
        """Stop serving and free everything."""
        self._stop_serving()
        self._release()

    def _release(self) -> None:
        """Free what configuring made: subscriptions, services and publishers."""
        self._settings.is_configured = False
        for subscription in self._event_subscriptions:
            self.destroy_subscription(subscription)
        self._event_subscriptions = []
        for service in self._control_services:
            self.destroy_service(service)
        self._control_services = []
        for publisher in self._managed_publishers:
            # The last message is lost with its publisher if nobody has fetched it yet.
            with contextlib.suppress(RuntimeError):
                publisher.wait_for_all_acked(LAST_WORDS)
            self.destroy_lifecycle_publisher(publisher)
        self._managed_publishers = []

    def _refuse_impossible_transitions(self) -> None:
        """Answer a transition that the state does not allow. rclpy before Kilted lets the error
        of the state machine out of the service's callback, and with it the whole node ends.
        """
        [service] = [service for service in self.services if service.srv_type is ChangeState]
        change_state = service.callback

        def on_change_state(
            request: ChangeState.Request, response: ChangeState.Response
        ) -> ChangeState.Response:
            try:
                return change_state(request, response)
            except RuntimeError:  # the base of RCLError, which rclpy keeps to itself
                wanted = request.transition.label or request.transition.id
                self.get_logger().warning(
                    f"lifecycle transition {wanted} was refused: this state does not allow it"
                )
                response.success = False
                return response

        service.callback = on_change_state

    def _on_autostart(self) -> None:
        self.destroy_timer(self._autostart)
        if self.trigger_configure() is TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # --- topics ----------------------------------------------------------------------------------

    def _advertise(self, kind: type, topic: str, profile: QoSProfile) -> LifecyclePublisher:
        publisher = self.create_lifecycle_publisher(kind, topic, profile)
        self._managed_publishers.append(publisher)
        return publisher

    def _subscribe(
        self, kind: type, topic: str, serve: Callable[[Any], None], profile: QoSProfile
    ) -> Subscription:
        """Subscribe so that nothing is served while inactive, and no message can kill the node."""

        def on_message(msg: Any) -> None:
            if not self.is_serving:
                self._note_problems([f"a message on {topic} was refused: the node is not active"])
                return
            try:
                serve(msg)
            except MedbotError as error:
                self._note_problems([str(error)])
            except Exception as error:  # a message is a stranger's: log what it broke, and go on
                self._note_problems([f"a message on {topic} could not be served: {error!r}"])

        return self.create_subscription(kind, topic, on_message, profile)

    def _on_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        return self._settings.check(changes)

    # --- diagnostics -----------------------------------------------------------------------------

    def _on_tick(self) -> None:
        if self._unlogged_problems:
            self.get_logger().warning(f"{self._unlogged_problems} more wrong messages came in")
        self._logged_problems.clear()
        self._unlogged_problems = 0
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        array = self._diagnose()
        array.header.stamp = self._now()
        self._diagnostics.publish(array)

    @property
    def _recent_problem(self) -> str:
        """A message that was not right lately, "" none."""
        is_recent = time.monotonic() - self._problem_at < PROBLEM_SHOWN_S
        return self._problem if is_recent else ""

    def _note_problems(self, problems: list[str]) -> None:
        for problem in problems:
            self._problem, self._problem_at = problem, time.monotonic()
            # At 200 bad messages a second the log must stay readable.
            logged = self._logged_problems
            if problem in logged or len(logged) >= MAX_PROBLEM_LINES:
                self._unlogged_problems += 1
            else:
                logged.add(problem)
                self.get_logger().warning(problem)

    def _now(self) -> Time:
        return self.get_clock().now().to_msg()

    @contextlib.contextmanager
    def _context_may_end(self) -> Any:
        """Publishing races with Ctrl-C: what fails because ROS is gone is not an error."""
        try:
            yield
        except Exception:
            if self.context.ok():
                raise


def _stop(signum: int, frame: object) -> None:
    # Once is enough: a second one would break off the freeing, which has its own time-outs.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run_node(make: Callable[[], ManagedNode], name: str, args: list[str] | None) -> int:
    """Run a node until Ctrl-C or SIGTERM, then end the process; returns the exit status only where
    the node could not be made.
    """
    # ROS's own handlers end the context at once, and with it the chance to publish a last message.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # wrong ROS arguments, no such parameter file
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    node = None
    try:
        node = make()
        log_to_ros(node.get_logger())
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except MedbotError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
    _leave()


def _leave() -> NoReturn:
    """End the process now, with everything of ours closed: threads of native libraries (sound,
    voice, echo cancellation, a model that hangs) crash now and then where the interpreter is taken
    down around them, and a node that ended well must not look as if it had not.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
