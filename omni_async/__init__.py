"""asyncio-native client for Gemini Omni video generation."""
