"""Calls that are forced upon a real engine. Its model's weights are random: all form is the grammar's."""

import json

from nabi import Case, user

CITIES = ["Seoul", "Busan", "القاهرة"]
FORECAST = {
    "type": "function",
    "function": {
        "name": "forecast",
        "description": "The weather of a city in the next days",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"enum": CITIES},
                "days": {"type": "integer", "minimum": 1, "maximum": 7},
                "details": {"type": "array", "items": {"enum": ["rain", "wind"]}, "maxItems": 2},
                "metric": {"type": "boolean"},
            },
            "required": ["city", "days", "metric"],
            "additionalProperties": False,
        },
    },
}
LIGHTS = {
    "type": "function",
    "function": {
        "name": "switch-lights",
        "parameters": {
            "type": "object",
            "properties": {"room": {"type": "string", "pattern": "^[A-F][0-9]{3}$"}, "on": {"const": True}},
            "required": ["room", "on"],
            "additionalProperties": False,
        },
    },
}
TOOLS = [FORECAST, LIGHTS]
SEEDS = range(4)


def named(tool):
    return {"type": "function", "function": {"name": tool["function"]["name"]}}


class Forced(Case):
    model = "chat"

    def ask(self, tool_choice, **fields):
        # A random model has no end to its calls, where there may be several.
        defaults = {"temperature": 1, "max_tokens": 1000, "parallel_tool_calls": False, "tools": TOOLS}
        return self.chat("What is the weather?", tool_choice=tool_choice, **defaults | fields)

    def check_arguments(self, name, text):
        arguments = json.loads(text)
        if name == "forecast":
            self.assertLessEqual(set(arguments), {"city", "days", "details", "metric"})
            self.assertIn(arguments["city"], CITIES)
            self.assertIn(arguments["days"], range(1, 8))
            self.assertIs(type(arguments["days"]), int)
            self.assertIs(type(arguments["metric"]), bool)
            details = arguments.get("details", [])
            self.assertLessEqual(len(details), 2)
            self.assertLessEqual(set(details), {"rain", "wind"})
        else:
            self.assertEqual(set(arguments), {"room", "on"})
            self.assertRegex(arguments["room"], r"\A[A-F][0-9]{3}\Z")
            self.assertIs(arguments["on"], True)

    def check_choice(self, choice):
        """The name and the arguments of its only call."""
        self.assertEqual((choice.finish_reason, choice.message.content), ("tool_calls", None))
        (call,) = choice.message.tool_calls
        self.assertEqual(call.type, "function")
        self.assertTrue(call.id.startswith("call_"))
        self.check_arguments(call.function.name, call.function.arguments)
        return call.function.name, call.function.arguments

    def streamed(self, tool_choice, **fields):
        """The name and the arguments of the only call of a stream."""
        chunks = list(self.ask(tool_choice, stream=True, **fields))
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")
        self.assertTrue(all(not chunk.choices[0].delta.content for chunk in chunks))
        first, *rest = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        self.assertEqual((first.index, first.type), (0, "function"))
        self.assertTrue(first.id)
        self.assertTrue(all((call.index, call.id, call.function.name) == (0, None, None) for call in rest))
        self.assertGreater(len(rest), 4, "arguments come in pieces")
        arguments = "".join(call.function.arguments or "" for call in (first, *rest))
        self.check_arguments(first.function.name, arguments)
        return first.function.name, arguments

    def test_required(self):
        calls = [self.check_choice(self.ask("required", seed=seed).choices[0]) for seed in SEEDS]
        self.assertEqual([self.streamed("required", seed=seed) for seed in SEEDS], calls)
        self.assertGreater(len(set(calls)), 1, "the model has a choice")

    def test_a_named_function(self):
        for tool in TOOLS:
            for seed in SEEDS:
                call = self.check_choice(self.ask(named(tool), seed=seed).choices[0])
                self.assertEqual(call[0], tool["function"]["name"])
                self.assertEqual(self.streamed(named(tool), seed=seed), call)

    def test_the_likeliest_call(self):
        call = self.check_choice(self.ask("required", temperature=0).choices[0])
        self.assertEqual(self.streamed("required", temperature=0), call)

    def test_several_choices(self):
        answer = self.ask("required", seed=5, n=3)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])
        for choice in answer.choices:
            self.check_choice(choice)

    def test_several_calls(self):
        """The model may end after any number of calls, or be ended within one: then that one is not told."""
        for seed in SEEDS:
            choice = self.ask("required", seed=seed, parallel_tool_calls=True, max_tokens=600).choices[0]
            self.assertIn(choice.finish_reason, ("tool_calls", "length"))
            self.assertIsNone(choice.message.content)
            self.assertTrue(choice.message.tool_calls)
            for call in choice.message.tool_calls:
                self.check_arguments(call.function.name, call.function.arguments)

    def test_the_call_goes_back_to_the_model(self):
        message = self.ask("required", seed=1).choices[0].message
        answer = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21 degrees"}
        messages = [*user("What is the weather?"), message, answer]
        fields = {"tools": TOOLS, "temperature": 1, "max_tokens": 1000, "parallel_tool_calls": False}
        again = self.chat(messages, tool_choice=named(LIGHTS), seed=1, **fields)
        self.assertEqual(self.check_choice(again.choices[0])[0], "switch-lights")
        self.assertEqual(self.chat(messages, tool_choice="none", max_tokens=4, tools=TOOLS).choices[0].message.tool_calls, None)
